/*
 * The channel between two partitions: a single-producer single-consumer ring of records, and the doorbell that wakes its
 * reader (kernel/ipc/shared.ts: `Ring`, `PartitionControl`; the reader's loop is kernel/partition/runtime.ts).
 *
 * Shown, for every interleaving: records come whole, in order, none lost and none twice; nothing unread is overwritten; the
 * writer and the reader never wait for each other for ever. The sleep has no time limit here, so a lost wake-up is a deadlock.
 * `Atomics` are sequentially consistent, and payload bytes are ordered by the positions around them: SC is the right memory.
 *
 * Bounds: 6 units of 8 bytes in the ring, positions modulo 24, records of 1 to 3 units, 5 records.
 * -DPLANT_EARLY_HEAD     the reader gives the room back before it has read the record
 * -DPLANT_LATE_LISTEN    the reader looks at the bell after it has looked for work
 * -DPLANT_NO_WRAP_ROOM   the writer forgets the rest of the ring that a wrapped record leaves unused
 */
#define CAPACITY 6
#define MODULUS 24 /* a multiple of the capacity, as 2^32 is */
#define RECORDS 5
#define WRAP 255
#define FREE 254

byte ring[CAPACITY] = FREE; /* at a record's first unit: its number; WRAP: go on at the start */
byte size[CAPACITY];        /* at a record's first unit: its size in units */
byte head, tail;            /* positions: only the reader writes head, only the writer writes tail */
byte bell;                  /* counts rings */
bool sleeping;
byte taken;                 /* records that the reader has had */

#define used(h, t) ((t + MODULUS - h) % MODULUS)

inline ringBell() {
  bell = (bell + 1) % 8;
  /* Atomics.notify: wakes the sleeper, if it sleeps. A sleeper looks at the bell and falls asleep in one step. */
  if
  :: sleeping -> sleeping = false
  :: else -> skip
  fi
}

active proctype Writer() {
  byte next, units, offset, toEnd, needed, at, h, k;
  do
  :: next == RECORDS -> break
  :: next < RECORDS ->
     if
     :: units = 1
     :: units = 2
     :: units = 3
     fi;
     do
     :: h = head;
        offset = tail % CAPACITY;
        toEnd = CAPACITY - offset;
        if
        :: units <= toEnd -> needed = units; at = offset
        :: else ->
#ifdef PLANT_NO_WRAP_ROOM
           needed = units;
#else
           needed = toEnd + units;
#endif
           at = 0
        fi;
        if
        :: used(h, tail) + needed <= CAPACITY -> break
        :: else -> (head != h) /* full: the sender is refused and tries again when there is more room */
        fi
     od;
     if
     :: at != offset -> assert(ring[offset] == FREE); ring[offset] = WRAP
     :: else -> skip
     fi;
     k = 0;
     do
     :: k == units -> break
     :: k < units ->
        assert(ring[at + k] == FREE); /* nothing unread is overwritten */
        ring[at + k] = next;
        size[at + k] = units;
        k++
     od;
#ifdef PLANT_NO_WRAP_ROOM
     tail = (tail + (at != offset -> toEnd + units : units)) % MODULUS;
#else
     tail = (tail + needed) % MODULUS;
#endif
     ringBell();
     next++
  od
}

inline takeOne() {
  offset = head % CAPACITY;
  skipped = 0;
  if
  :: ring[offset] == WRAP ->
     ring[offset] = FREE;
     skipped = CAPACITY - offset;
     offset = 0
  :: else -> skip
  fi;
  units = size[offset];
#ifdef PLANT_EARLY_HEAD
  head = (head + skipped + units) % MODULUS;
#endif
  k = 0;
  do
  :: k == units -> break
  :: k < units ->
     assert(ring[offset + k] == taken); /* whole, in order, none lost, none twice */
     ring[offset + k] = FREE;
     k++
  od;
  taken++;
#ifndef PLANT_EARLY_HEAD
  head = (head + skipped + units) % MODULUS
#endif
}

active proctype Reader() {
  byte offset, skipped, units, heard, k;
  do
  :: taken == RECORDS -> break
  :: taken < RECORDS ->
#ifndef PLANT_LATE_LISTEN
     heard = bell;
#endif
     do
     :: head == tail -> break
     :: head != tail -> takeOne()
     od;
     if
     :: taken == RECORDS -> break
     :: else -> skip
     fi;
#ifdef PLANT_LATE_LISTEN
     heard = bell;
#endif
     /* Atomics.wait compares the bell and falls asleep in one step; it returns at once where the bell was rung meanwhile. */
     atomic {
       if
       :: bell == heard -> sleeping = true
       :: else -> skip
       fi
     };
     !sleeping
  od;
  assert(head == tail && taken == RECORDS)
}

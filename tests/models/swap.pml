/*
 * Swaps of two modules in two partitions as one set, twice in a row: the supervisor's table (kernel/supervisor/swaps.ts), each partition's
 * table (kernel/partition/swap.ts), the orders and the reports between them, each a first-in first-out queue.
 *
 * Shown, for every interleaving with one refusal, one fault on probation of each member, and the loss of one partition at any
 * moment: each set ends; both members then run the same version, the one of the supervisor's record; it is the new one exactly
 * where the set was committed, and nothing takes a committed version back.
 *
 * Left out: a member that moves to another partition, and the steps inside one; tests/kernel/swap-faults.test.ts plays those.
 *
 * -DPLANT_EARLY_COMMIT  the supervisor commits without asking whether the members are still on probation
 * -DPLANT_ONE_BACK      one member goes back alone
 * -DPLANT_FLIP_EARLY    the set is flipped as soon as one member is prepared
 * -DPLANT_STALE_REPORT  a report of an earlier set counts for the present one
 */
#define MEMBERS 2
#define SETS 2

mtype = { prepare, flip, abort, settleKeep, settleBack, finish };       /* orders */
mtype = { prepared, refused, flipped, settled, reverted, lost };        /* reports */
mtype = { none, quiescing, ready, probation, kept };                    /* a member's phase in its partition */
mtype = { preparing, flipping, onProbation, settling, ended };          /* the set's phase */

chan order[MEMBERS] = [8] of { mtype, byte };  /* what, whose which set */
chan report[MEMBERS] = [8] of { mtype, byte };

/* Versions are numbers: 0 at first, the number of the set that brought it afterwards. */
byte runs[MEMBERS];      /* in force in the partition */
byte previous[MEMBERS];  /* to which a member on probation goes back */
byte current[MEMBERS];   /* of which set the member's swap is */
byte record[MEMBERS];    /* in force as the supervisor knows it: what a new worker is loaded with */
mtype phase[MEMBERS] = none;
bool mayRefuse = true, mayLose = true;
bool mayFault[MEMBERS] = true;
bool alive[MEMBERS] = true;

byte number;             /* of the present set */
mtype set = ended;
byte before;             /* the version before the present set */
bool wentBack;
byte waiting;            /* a bit for each member whose report the set waits for */

#define bit(i) (1 << i)
#define other(i) (1 - i)

inline goBackHere(i) {
  runs[i] = previous[i];
  phase[i] = none;
  report[i]!reverted, current[i]
}

proctype Partition(byte i) {
  byte whose;
endIdle:
  do
  :: atomic { alive[i] && order[i]?[prepare, _] -> order[i]?prepare, whose;
       if
       :: phase[i] != none -> report[i]!refused, whose
       :: phase[i] == none && mayRefuse -> mayRefuse = false; report[i]!refused, whose
       :: phase[i] == none -> phase[i] = quiescing; current[i] = whose
       fi }
  /* the running handler ends, its state is saved and handed over */
  :: atomic { phase[i] == quiescing -> phase[i] = ready; report[i]!prepared, current[i] }
  :: atomic { alive[i] && order[i]?[flip, _] -> order[i]?flip, whose;
       if
       :: phase[i] == ready -> phase[i] = probation; previous[i] = runs[i]; runs[i] = whose; report[i]!flipped, whose
       :: else -> skip
       fi }
  :: atomic { alive[i] && order[i]?[abort, _] -> order[i]?abort, whose;
       if
       :: phase[i] == ready || phase[i] == quiescing -> phase[i] = none
       :: else -> skip
       fi }
  :: atomic { alive[i] && order[i]?[settleKeep, _] -> order[i]?settleKeep, whose;
       if
       :: phase[i] == probation -> phase[i] = kept; report[i]!settled, whose
       :: else -> skip
       fi }
  :: atomic { alive[i] && order[i]?[settleBack, _] -> order[i]?settleBack, whose;
       if
       :: phase[i] == probation || phase[i] == kept -> goBackHere(i)
       :: else -> skip
       fi }
  :: atomic { alive[i] && order[i]?[finish, _] -> order[i]?finish, whose;
       if
       :: phase[i] == kept -> phase[i] = none
       :: else -> skip
       fi }
  /* A fault on probation: the member goes back by itself. Once kept, a fault is a restart of its own version. */
  :: atomic { phase[i] == probation && mayFault[i] -> mayFault[i] = false; goBackHere(i) }
  od
}

/* The worker dies and its queues with it; the supervisor hears of that. */
proctype Loss() {
  byte i;
  if
  :: i = 0
  :: i = 1
  fi;
endSpared:
  atomic {
    mayLose && set != ended -> mayLose = false;
    do
    :: len(order[i]) > 0 -> order[i]?_, _
    :: len(report[i]) > 0 -> report[i]?_, _
    :: len(order[i]) == 0 && len(report[i]) == 0 -> break
    od;
    phase[i] = none;
    alive[i] = false;
    report[i]!lost, 0
  }
}

inline goBack(first) {
  if
  :: !wentBack ->
     wentBack = true;
     waiting = 0;
#ifndef PLANT_ONE_BACK
     order[other(first)]!settleBack, number;
     waiting = waiting | bit(other(first))
#endif
  :: else -> skip
  fi;
  waiting = waiting & (3 - bit(first));
  if
  :: waiting == 0 -> set = ended
  :: else -> skip
  fi
}

inline refuse(by) {
  order[other(by)]!abort, number;
  set = ended
}

inline onPrepared(i) {
  waiting = waiting & (3 - bit(i));
  if
#ifdef PLANT_FLIP_EARLY
  :: set == preparing ->
#else
  :: set == preparing && waiting == 0 ->
#endif
     set = flipping;
     waiting = 3;
     order[0]!flip, number;
     order[1]!flip, number
  :: else -> skip
  fi
}

inline onFlipped(i) {
  if
  :: wentBack -> skip /* its order to go back is under way */
  :: else ->
     waiting = waiting & (3 - bit(i));
     record[i] = number;
     if
     :: waiting == 0 && set == flipping -> set = onProbation
     :: else -> skip
     fi
  fi
}

inline onSettled(i) {
  if
  :: set != settling || wentBack -> skip
  :: else ->
     waiting = waiting & (3 - bit(i));
     if
     :: waiting == 0 -> commit()
     :: else -> skip
     fi
  fi
}

inline commit() {
  order[0]!finish, number;
  order[1]!finish, number;
  before = number;
  set = ended
}

/* The new worker is loaded with the version of the record; orders to the dead one went nowhere. */
inline onLost(i) {
  do
  :: len(order[i]) > 0 -> order[i]?_, _
  :: len(order[i]) == 0 -> break
  od;
  if
  :: set == ended -> skip
  :: set == preparing -> refuse(i)
  :: else -> record[i] = before; goBack(i)
  fi;
  runs[i] = record[i];
  alive[i] = true
}

inline onReport(i) {
  report[i]?what, whose;
  if
  :: what == lost -> onLost(i)
  :: what != lost && set == ended -> skip
#ifdef PLANT_STALE_REPORT
  :: what != lost && set != ended ->
#else
  :: what != lost && set != ended && whose != number -> skip
  :: what != lost && set != ended && whose == number ->
#endif
     if
     :: what == prepared -> onPrepared(i)
     :: what == refused -> refuse(i)
     :: what == flipped -> onFlipped(i)
     :: what == settled -> onSettled(i)
     :: what == reverted -> record[i] = before; goBack(i)
     fi
  fi;
  what = none; whose = 0
}

proctype Supervisor() {
  mtype what = none;
  byte whose;
  do
  :: atomic { number < SETS && set == ended ->
       number++;
       set = preparing;
       wentBack = false;
       waiting = 3;
       order[0]!prepare, number;
       order[1]!prepare, number }
  :: atomic { set != ended && len(report[0]) > 0 -> onReport(0) }
  :: atomic { set != ended && len(report[1]) > 0 -> onReport(1) }
  /* The end of the probation: to be kept, or by order not. */
  :: atomic { set == onProbation && !wentBack ->
       set = settling;
       waiting = 3;
       if
#ifdef PLANT_EARLY_COMMIT
       :: order[0]!settleKeep, number; order[1]!settleKeep, number; commit()
#else
       :: order[0]!settleKeep, number; order[1]!settleKeep, number
#endif
       :: order[0]!settleBack, number; order[1]!settleBack, number
       fi }
  :: atomic { number == SETS && set == ended ->
       break }
  od;
  /* Late reports and orders run out; then everything agrees. */
  do
  :: atomic { len(report[0]) > 0 -> onReport(0) }
  :: atomic { len(report[1]) > 0 -> onReport(1) }
  :: atomic { len(report[0]) == 0 && len(report[1]) == 0 && len(order[0]) == 0 && len(order[1]) == 0 &&
       phase[0] == none && phase[1] == none -> break }
  od;
  assert(runs[0] == before && runs[1] == before);
  assert(record[0] == before && record[1] == before)
}

init {
  atomic {
    run Partition(0);
    run Partition(1);
    run Supervisor();
    run Loss()
  }
}

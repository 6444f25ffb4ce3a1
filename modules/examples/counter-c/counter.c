/* Counts messages; a call is answered with the count, and the count survives restarts and updates. */
#include "bulkhead.h"

enum { INBOX_BYTES = 1024, COUNT_BYTES = 5, LOG_INFORMATION = 2 };

BULKHEAD_IMPORT("log", "write")
int32_t log_write(int32_t level, const void *text, int32_t length);

static _Alignas(8) uint8_t inbox[INBOX_BYTES];
static uint8_t encoded[COUNT_BYTES];
static uint32_t count;

/* CBOR of the count, always as four bytes (RFC 8949, section 3.1: the form need not be the shortest). */
static int64_t encode_count(void) {
  encoded[0] = 0x1a;
  for (int i = 0; i < 4; i++) encoded[1 + i] = (uint8_t)(count >> (24 - 8 * i));
  return bulkhead_bytes(encoded, COUNT_BYTES);
}

BULKHEAD_EXPORT("bulkhead_inbox")
void *bulkhead_inbox(void) { return inbox; }

BULKHEAD_EXPORT("bulkhead_handle")
int64_t bulkhead_handle(int32_t port, int32_t length) {
  static const char ready[] = "counting";
  (void)length;
  if (port == BULKHEAD_KERNEL_PORT) {
    if (inbox[BULKHEAD_HEADER_BYTES + 1] == BULKHEAD_START) log_write(LOG_INFORMATION, ready, sizeof ready - 1);
    return 0;
  }
  const struct bulkhead_header *header = (const void *)inbox;
  count++;
  return header->kind == BULKHEAD_CALL ? encode_count() : 0;
}

BULKHEAD_EXPORT("bulkhead_save")
int64_t bulkhead_save(void) { return encode_count(); }

BULKHEAD_EXPORT("bulkhead_state")
void *bulkhead_state(int32_t length) { return length == COUNT_BYTES ? (void *)encoded : (void *)-1; }

BULKHEAD_EXPORT("bulkhead_restore")
int32_t bulkhead_restore(int32_t length, int32_t schema) {
  if (length != COUNT_BYTES || schema != 1 || encoded[0] != 0x1a) return BULKHEAD_FIRST_ERROR;
  count = 0;
  for (int i = 1; i < COUNT_BYTES; i++) count = count << 8 | encoded[i];
  return 0;
}

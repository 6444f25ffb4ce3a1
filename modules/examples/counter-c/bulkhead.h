/* The guest ABI, version 1, for C (docs/abi.md): nothing but declarations, and nothing of a libc is needed. */
#ifndef BULKHEAD_H
#define BULKHEAD_H

#include <stdint.h>

#define BULKHEAD_EXPORT(name) __attribute__((export_name(name)))
#define BULKHEAD_IMPORT(slot, operation) __attribute__((import_module(slot), import_name(operation)))

enum { BULKHEAD_HEADER_BYTES = 64, BULKHEAD_KERNEL_PORT = 0xffff };
enum { BULKHEAD_SEND = 1, BULKHEAD_CALL = 2, BULKHEAD_EVENT = 3, BULKHEAD_REPLY = 4, BULKHEAD_NOTICE = 5 };
/* A notice on the kernel's port is an array of few elements, CBOR: its second byte says which it is. */
enum { BULKHEAD_START = 1, BULKHEAD_PEER_LOST = 2, BULKHEAD_PEER_BACK = 3, BULKHEAD_SAFE_STATE = 4 };
/* A module's own errors are this and below. */
enum { BULKHEAD_FIRST_ERROR = -1000 };

/* What the kernel writes at the start of the inbox. */
struct bulkhead_header {
  uint16_t version;
  uint8_t kind;
  uint8_t handles;
  uint32_t length;
  uint32_t sender_module;
  uint32_t sender_generation;
  uint32_t badge;
  uint32_t correlation;
  uint32_t lost;
  uint32_t reserved;
  uint32_t handle_list[8];
};

_Static_assert(sizeof(struct bulkhead_header) == BULKHEAD_HEADER_BYTES, "the header has 64 bytes");

/* The result of a handler that replies, or of bulkhead_save. */
static inline int64_t bulkhead_bytes(const void *address, uint32_t length) {
  return (int64_t)(uintptr_t)address << 32 | length;
}

#endif

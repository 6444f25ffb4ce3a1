;; Counts messages; a call is answered with the count, and the count survives restarts and updates.
(module
  (import "log" "write" (func $log (param i32 i32 i32) (result i32)))
  ;; 0: the inbox of 1024 bytes. 1024: the encoded count. 1032: a line for the log.
  (memory (export "memory") 1 1)
  (data (i32.const 1032) "counting")
  (global $count (mut i32) (i32.const 0))

  (func (export "bulkhead_inbox") (result i32)
    (i32.const 0))

  ;; CBOR of the count, always as four bytes, most significant first; the result is address << 32 | 5.
  (func $encode (result i64)
    (i32.store8 (i32.const 1024) (i32.const 0x1a))
    (i32.store8 (i32.const 1025) (i32.shr_u (global.get $count) (i32.const 24)))
    (i32.store8 (i32.const 1026) (i32.shr_u (global.get $count) (i32.const 16)))
    (i32.store8 (i32.const 1027) (i32.shr_u (global.get $count) (i32.const 8)))
    (i32.store8 (i32.const 1028) (global.get $count))
    (i64.or (i64.shl (i64.const 1024) (i64.const 32)) (i64.const 5)))

  (func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
    (if (i32.eq (local.get $port) (i32.const 0xffff))
      (then
        ;; A notice is an array of few elements; the first says which it is, and 1 is the start.
        (if (i32.eq (i32.load8_u (i32.const 65)) (i32.const 1))
          (then (drop (call $log (i32.const 2) (i32.const 1032) (i32.const 8)))))
        (return (i64.const 0))))
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    ;; The kind is the third byte of the header; 2 is a call.
    (if (result i64) (i32.eq (i32.load8_u (i32.const 2)) (i32.const 2))
      (then (call $encode))
      (else (i64.const 0))))

  (func (export "bulkhead_save") (result i64)
    (call $encode))

  (func (export "bulkhead_state") (param $length i32) (result i32)
    (select (i32.const 1024) (i32.const -1) (i32.eq (local.get $length) (i32.const 5))))

  (func (export "bulkhead_restore") (param $length i32) (param $schema i32) (result i32)
    (if (i32.ne (local.get $length) (i32.const 5)) (then (return (i32.const -1000))))
    (if (i32.ne (local.get $schema) (i32.const 1)) (then (return (i32.const -1000))))
    (if (i32.ne (i32.load8_u (i32.const 1024)) (i32.const 0x1a)) (then (return (i32.const -1000))))
    (global.set $count
      (i32.or
        (i32.or
          (i32.shl (i32.load8_u (i32.const 1025)) (i32.const 24))
          (i32.shl (i32.load8_u (i32.const 1026)) (i32.const 16)))
        (i32.or
          (i32.shl (i32.load8_u (i32.const 1027)) (i32.const 8))
          (i32.load8_u (i32.const 1028)))))
    (i32.const 0)))

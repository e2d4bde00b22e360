;; Columns of rows of float32, gathered: what pack-columns.ts is made of. Offsets and strides are bytes; rows of both sides
;; are `count`, neighbouring columns `columns`.
(module
  (memory (export "memory") 1)

  ;; To float32, bit by bit.
  (func (export "copy")
    (param $from i32) (param $fromStride i32) (param $to i32) (param $toStride i32) (param $count i32) (param $columns i32)
    (local $at i32) (local $fours i32) (local $end i32)
    (local.set $fours (i32.shl (i32.and (local.get $columns) (i32.const -4)) (i32.const 2)))
    (local.set $end (i32.shl (local.get $columns) (i32.const 2)))
    (block $done
      (loop $row
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $at (i32.const 0))
        (block $rest
          (loop $four
            (br_if $rest (i32.ge_u (local.get $at) (local.get $fours)))
            (v128.store
              (i32.add (local.get $to) (local.get $at))
              (v128.load (i32.add (local.get $from) (local.get $at))))
            (local.set $at (i32.add (local.get $at) (i32.const 16)))
            (br $four)))
        (block $next
          (loop $one
            (br_if $next (i32.ge_u (local.get $at) (local.get $end)))
            (i32.store
              (i32.add (local.get $to) (local.get $at))
              (i32.load (i32.add (local.get $from) (local.get $at))))
            (local.set $at (i32.add (local.get $at) (i32.const 4)))
            (br $one)))
        (local.set $from (i32.add (local.get $from) (local.get $fromStride)))
        (local.set $to (i32.add (local.get $to) (local.get $toStride)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $row))))

  ;; To int64. Answers 1 when all of them are whole numbers of 32 bits; else 0, and what was written is not to be used.
  (func (export "copyWhole")
    (param $from i32) (param $fromStride i32) (param $to i32) (param $toStride i32) (param $count i32) (param $columns i32)
    (result i32)
    (local $source i32) (local $target i32) (local $left i32)
    (local $four v128) (local $words v128) (local $fit v128)
    (local $one f32) (local $word i32) (local $fits i32)
    (local.set $fit (v128.const i32x4 -1 -1 -1 -1))
    (local.set $fits (i32.const 1))
    (block $done
      (loop $row
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $source (local.get $from))
        (local.set $target (local.get $to))
        (local.set $left (local.get $columns))
        (block $rest
          (loop $fourth
            (br_if $rest (i32.lt_u (local.get $left) (i32.const 4)))
            (local.set $four (v128.load (local.get $source)))
            (local.set $words (i32x4.trunc_sat_f32x4_s (local.get $four)))
            ;; 2^31 and above become 2^31 - 1, whose float32 is 2^31 again
            (local.set $fit
              (v128.and
                (local.get $fit)
                (v128.and
                  (f32x4.eq (f32x4.convert_i32x4_s (local.get $words)) (local.get $four))
                  (f32x4.lt (local.get $four) (v128.const f32x4 0x1p31 0x1p31 0x1p31 0x1p31)))))
            (v128.store (local.get $target) (i64x2.extend_low_i32x4_s (local.get $words)))
            (v128.store offset=16 (local.get $target) (i64x2.extend_high_i32x4_s (local.get $words)))
            (local.set $source (i32.add (local.get $source) (i32.const 16)))
            (local.set $target (i32.add (local.get $target) (i32.const 32)))
            (local.set $left (i32.sub (local.get $left) (i32.const 4)))
            (br $fourth)))
        (block $next
          (loop $single
            (br_if $next (i32.eqz (local.get $left)))
            (local.set $one (f32.load (local.get $source)))
            (local.set $word (i32.trunc_sat_f32_s (local.get $one)))
            (local.set $fits
              (i32.and
                (local.get $fits)
                (i32.and
                  (f32.eq (f32.convert_i32_s (local.get $word)) (local.get $one))
                  (f32.lt (local.get $one) (f32.const 0x1p31)))))
            (i64.store (local.get $target) (i64.extend_i32_s (local.get $word)))
            (local.set $source (i32.add (local.get $source) (i32.const 4)))
            (local.set $target (i32.add (local.get $target) (i32.const 8)))
            (local.set $left (i32.sub (local.get $left) (i32.const 1)))
            (br $single)))
        (local.set $from (i32.add (local.get $from) (local.get $fromStride)))
        (local.set $to (i32.add (local.get $to) (local.get $toStride)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $row)))
    (i32.and (local.get $fits) (i32x4.all_true (local.get $fit)))))

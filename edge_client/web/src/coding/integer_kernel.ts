// The inner loop of integer layers, in WebAssembly with SIMD: four rows by four outputs at a time.
//
//   (func (export "run") (param $x i32) (param $w i32) (param $pairs i32) (param $out i32)
//     (local $weights v128) (local $a v128) (local $b v128) (local $c v128) (local $d v128)
//     (loop $next
//       (local.set $weights (v128.load (local.get $w)))
//       (local.set $a (i32x4.add (local.get $a)
//         (i32x4.dot_i16x8_s (local.get $weights) (v128.load32_splat (local.get $x)))))
//       ... $b, $c, $d likewise with offsets 4, 8, 12 of $x
//       (local.set $x (i32.add (local.get $x) (i32.const 16)))
//       (local.set $w (i32.add (local.get $w) (i32.const 16)))
//       (br_if $next (local.tee $pairs (i32.sub (local.get $pairs) (i32.const 1)))))
//     (v128.store (local.get $out) (local.get $a))
//     ... $b, $c, $d likewise with offsets 16, 32, 48 of $out
//   )

/**
 * Sums of products of `pairs` pairs of inputs, four rows by four outputs.
 *
 * x: i16 [pairs, 4 rows, 2]; w: i16 [pairs, 4 outputs, 2]; out: i32 [4 rows, 4 outputs]; all by
 * their addresses in the memory.
 */
export type Kernel = (x: number, w: number, pairs: number, out: number) => void;

const [X, W, PAIRS, OUT, WEIGHTS, A] = [0, 1, 2, 3, 4, 5];
const ROWS = [0, 1, 2, 3];
const get = (local: number): number[] => [0x20, local];
const set = (local: number): number[] => [0x21, local];
const advance = (local: number): number[] => [...get(local), 0x41, 16, 0x6a, ...set(local)];
const BODY = [
  ...[1, 5, 0x7b], // five locals of v128
  ...[0x03, 0x40], // loop
  ...[...get(W), 0xfd, 0x00, 4, 0, ...set(WEIGHTS)],
  ...ROWS.flatMap((row) => [
    ...[...get(A + row), ...get(WEIGHTS)],
    ...[...get(X), 0xfd, 0x09, 2, 4 * row], // v128.load32_splat
    ...[0xfd, 0xba, 0x01], // i32x4.dot_i16x8_s
    ...[0xfd, 0xae, 0x01, ...set(A + row)], // i32x4.add
  ]),
  ...[...advance(X), ...advance(W)],
  ...[...get(PAIRS), 0x41, 1, 0x6b, 0x22, PAIRS], // i32.sub, local.tee
  ...[0x0d, 0, 0x0b], // br_if, end of the loop
  ...ROWS.flatMap((row) => [...get(OUT), ...get(A + row), 0xfd, 0x0b, 4, 16 * row]), // v128.store
  0x0b,
];
const MODULE = Uint8Array.from([
  ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
  ...[1, 8, 1, 0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 0], // type: four i32, no result
  ...[2, 8, 1, 1, 0x6d, 1, 0x6d, 2, 0, 1], // import "m" "m": a memory
  ...[3, 2, 1, 0], // one function of that type
  ...[7, 7, 1, 3, 0x72, 0x75, 0x6e, 0, 0], // export "run"
  ...[10, ...leb(BODY.length + 1 + leb(BODY.length).length), 1, ...leb(BODY.length), ...BODY],
]);

/** The kernel on a memory. */
export function openKernel(memory: WebAssembly.Memory): Kernel {
  const instance = new WebAssembly.Instance(new WebAssembly.Module(MODULE), { m: { m: memory } });
  return instance.exports["run"] as Kernel;
}

function leb(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, value >> 7];
}

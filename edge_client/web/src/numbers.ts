// Arithmetic as Python and numpy do it, where JavaScript has none or another.

/** Round halves to even, as Python's `round`. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 ? floor + 1 : floor;
}

export function meanOf(values: Float32Array): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum / values.length;
}

/** A value at `x` between points whose `xs` rise, as numpy's `interp`. */
export function interpolate(x: number, xs: ArrayLike<number>, ys: ArrayLike<number>): number {
  const last = xs.length - 1;
  if (x >= xs[last]!) return ys[last]!;
  if (x <= xs[0]!) return ys[0]!;
  let at = 0;
  while (xs[at + 1]! <= x) at++;
  const slope = (ys[at + 1]! - ys[at]!) / (xs[at + 1]! - xs[at]!);
  return ys[at]! + slope * (x - xs[at]!);
}

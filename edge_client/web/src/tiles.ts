// How a large picture is cut, so that memory is bounded by a tile: shared/tiles.py.

import { roundHalfEven } from "./numbers.js";

/** Along one axis: start..stop is what a tile is for, low..high what it sees. */
export interface Span {
  readonly start: number;
  readonly stop: number;
  readonly low: number;
  readonly high: number;
}

/** Tiles that cover a length without overlap, each seeing `margin` more on both sides. */
export function spans(length: number, tile: number, margin: number): Span[] {
  return Array.from({ length: Math.ceil(length / tile) }, (_, i) => {
    const start = i * tile;
    const stop = Math.min(length, start + tile);
    return { start, stop, low: Math.max(0, start - margin), high: Math.min(length, stop + margin) };
  });
}

/** Where equal tiles start that cover a length and overlap evenly; multiples of `unit`. */
export function starts(length: number, tile: number, unit: number): number[] {
  if (length <= tile) return [0];
  const count = Math.ceil(length / tile);
  const last = Math.ceil((length - tile) / unit);
  return Array.from(
    { length: count },
    (_, i) => roundHalfEven((i * last) / (count - 1)) * unit,
  );
}

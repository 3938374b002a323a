// Pillow's two ways to make a picture smaller, in its own integers: the same pixels as in Python.

import { roundHalfEven } from "../numbers.js";
import type { Picture } from "./picture.js";

const PRECISION = 22; // bits behind the point of a filter's weights
const LOBES = 3;

/** Scale a picture down so that its long side is at most `longest` pixels; never up. */
export function fit(picture: Picture, longest: number): Picture {
  const side = Math.max(picture.width, picture.height);
  if (side <= longest) return picture;
  // A filter over many pixels is slow: means of squares first, to twice the size at least.
  const coarse = reduce(picture, Math.max(1, Math.floor(side / (2 * longest))));
  if (Math.max(coarse.width, coarse.height) <= longest) return coarse;
  return scale(coarse, ...fitted(coarse.width, coarse.height, longest));
}

/** Width and height after scaling the long side to `longest` pixels, aspect kept. */
export function fitted(width: number, height: number, longest: number): [number, number] {
  const ratio = longest / Math.max(width, height);
  const side = (length: number): number => Math.max(1, roundHalfEven(length * ratio));
  return [side(width), side(height)];
}

/** The picture with squares of `factor` pixels a side as their mean. */
export function reduce(picture: Picture, factor: number): Picture {
  if (factor === 1) return picture;
  const { width, height, pixels } = picture;
  const wide = Math.ceil(width / factor);
  const high = Math.ceil(height / factor);
  const out = new Uint8Array(3 * wide * high);
  for (let row = 0, to = 0; row < high; row++) {
    const bottom = Math.min(height, (row + 1) * factor);
    for (let column = 0; column < wide; column++, to += 3) {
      const right = Math.min(width, (column + 1) * factor);
      const count = (bottom - row * factor) * (right - column * factor);
      const multiplier = Math.floor(2 ** 24 / count);
      let [red, green, blue] = [count >> 1, count >> 1, count >> 1];
      for (let y = row * factor; y < bottom; y++) {
        for (let at = 3 * (y * width + column * factor); at < 3 * (y * width + right); at += 3) {
          red += pixels[at]!;
          green += pixels[at + 1]!;
          blue += pixels[at + 2]!;
        }
      }
      out[to] = Math.floor((red * multiplier) / 2 ** 24);
      out[to + 1] = Math.floor((green * multiplier) / 2 ** 24);
      out[to + 2] = Math.floor((blue * multiplier) / 2 ** 24);
    }
  }
  return { width: wide, height: high, pixels: out };
}

/** The picture resized with a Lanczos filter that averages what it shrinks. */
export function scale(picture: Picture, width: number, height: number): Picture {
  // Pixels are rounded between the two passes. Their order is what Pillow 13 was seen to choose; in
  // older ones tall pictures come out a level off here and there.
  const isTall = picture.height - height > 2 * (picture.width - width);
  return isTall
    ? withWidth(withHeight(picture, height), width)
    : withHeight(withWidth(picture, width), height);
}

function withWidth(picture: Picture, width: number): Picture {
  if (width === picture.width) return picture;
  const [line, toLine] = [3 * picture.width, 3 * width];
  const { height } = picture;
  return { width, height, pixels: along(picture, height, picture.width, width, line, 3, toLine) };
}

function withHeight(picture: Picture, height: number): Picture {
  if (height === picture.height) return picture;
  const { width } = picture;
  const step = 3 * width;
  return { width, height, pixels: along(picture, width, picture.height, height, 3, step, 3) };
}

/**
 * Resize `lines` lines of `length` pixels to `wanted`.
 *
 * line, step: bytes from one line, and from one pixel of a line, to the next; toLine: of the result.
 */
function along(
  { pixels }: Picture,
  lines: number,
  length: number,
  wanted: number,
  line: number,
  step: number,
  toLine: number,
): Uint8Array {
  const out = new Uint8Array(3 * lines * wanted);
  const half = 1 << (PRECISION - 1);
  for (let to = 0; to < wanted; to++) {
    const { first, weights } = filterAt(to, length, wanted);
    for (let number = 0; number < lines; number++) {
      let [red, green, blue] = [half, half, half];
      let at = number * line + first * step;
      for (let k = 0; k < weights.length; k++, at += step) {
        const weight = weights[k]!;
        red += pixels[at]! * weight;
        green += pixels[at + 1]! * weight;
        blue += pixels[at + 2]! * weight;
      }
      const place = number * toLine + to * step;
      out[place] = clip(red >> PRECISION);
      out[place + 1] = clip(green >> PRECISION);
      out[place + 2] = clip(blue >> PRECISION);
    }
  }
  return out;
}

/** The pixels that one of the result is made of: the first of them, and the weight of each. */
function filterAt(
  to: number,
  length: number,
  wanted: number,
): { first: number; weights: Int32Array } {
  const shrink = length / wanted;
  const stretch = Math.max(shrink, 1);
  const support = LOBES * stretch;
  const center = (to + 0.5) * shrink;
  const first = Math.max(0, Math.trunc(center - support + 0.5));
  const stop = Math.min(length, Math.trunc(center + support + 0.5));
  const shares = Float64Array.from({ length: stop - first }, (_, i) =>
    lanczos((i + first - center + 0.5) * (1 / stretch)),
  );
  const sum = shares.reduce((total, share) => total + share, 0);
  const weights = Int32Array.from(shares, (share) => {
    const scaled = (share / sum) * 2 ** PRECISION;
    return Math.trunc(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
  });
  return { first, weights };
}

function lanczos(x: number): number {
  return x >= -LOBES && x < LOBES ? sinc(x) * sinc(x / LOBES) : 0;
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}

function clip(value: number): number {
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

// The entropy model: latents to bytes and back. docs/bitstream.md, section 4;
// shared/entropy_model.py.

import { Coder } from "./coding/ans.js";
import { crc32 } from "./coding/crc32.js";
import {
  type Arrays,
  CODES,
  type Hyper,
  IntegerNetwork,
  MEAN_UNIT,
  SCALES,
  type SymbolsOf,
  WEIGHT_LIMIT,
} from "./coding/integer_network.js";
import { FloatLayer } from "./coding/layers.js";
import { BIT_PRICE, SymbolCoder } from "./coding/symbol_coder.js";
import { CotamError } from "./errors.js";
import type { Grid } from "./level_map.js";
import { readNpz } from "./npz.js";

const SYMBOL_LIMIT = 30_000;
const STEP_UNIT = 256;
const { fround } = Math;

/**
 * One coded picture: its ANS bytes and the 16-bit check of its symbols.
 *
 * prices, bits: of each symbol other than zero. At that price of a bit it would be written one
 * nearer to zero, in so many bits less.
 */
export interface Encoded {
  readonly payload: Uint8Array;
  readonly check: number;
  readonly prices: Float32Array;
  readonly bits: Float32Array;
}

/** What a payload holds: hyper latents [h/4, w/4, Cz], symbols and means (1/16) [h, w, C]. */
export interface Symbols {
  readonly hyper: Hyper;
  readonly values: Int32Array;
  readonly means: Int16Array;
}

/** Codes latents [h, w, C] at quality codes [h, w] to bytes and back. */
export class EntropyModel {
  readonly channels: number;
  private readonly hyperChannels: number;
  private readonly network: IntegerNetwork;
  private readonly coder: SymbolCoder;
  private readonly gains: Float32Array; // [181, C]
  private readonly hyperGains: Float32Array; // [181, Cz]
  private readonly hyperScales: Uint8Array; // [181, Cz]
  private readonly hyperAnalysis: FloatLayer[];

  constructor(arrays: Arrays) {
    const gains = arrays.get("gains") ?? need(arrays, "steps");
    const hyperGains = need(arrays, "hyper_gains");
    const hyperScales = need(arrays, "hyper_scales");
    this.channels = gains.shape[1]!;
    this.hyperChannels = hyperGains.shape[1]!;
    for (const [array, width] of [
      [gains, this.channels],
      [hyperGains, this.hyperChannels],
      [hyperScales, this.hyperChannels],
    ] as const) {
      if (array.shape[0] !== CODES || array.shape[1] !== width) {
        throw new RangeError(`an array is not ${CODES} codes by ${width} channels`);
      }
    }
    this.gains = arrays.has("gains")
      ? Float32Array.from(gains.values)
      : Float32Array.from(gains.values, (step) => STEP_UNIT / step);
    this.hyperGains = Float32Array.from(hyperGains.values);
    this.hyperScales = Uint8Array.from(hyperScales.values);
    if (this.hyperScales.some((scale) => scale >= SCALES)) {
      throw new RangeError(`a scale index of the hyper latent is over ${SCALES - 1}`);
    }
    this.network = new IntegerNetwork(arrays, this.channels, this.hyperChannels);
    this.coder = new SymbolCoder(
      need(arrays, "tables").values,
      need(arrays, "table_ends").values,
    );
    this.hyperAnalysis = [0, 1, 2].map(
      (i) =>
        new FloatLayer(
          need(arrays, `hyper_analysis${i}.weight`).values,
          need(arrays, `hyper_analysis${i}.bias`).values,
        ),
    );
  }

  /** Read `entropy.npz`. Throws `bundle_corrupt` where it is no network of this form. */
  static async load(file: Uint8Array<ArrayBuffer>): Promise<EntropyModel> {
    const arrays = await readNpz(file);
    try {
      return new EntropyModel(arrays);
    } catch (error) {
      throw new CotamError(
        "bundle_corrupt",
        `entropy.npz is not an entropy network: ${(error as Error).message}`,
        "fetch the bundle again",
      );
    }
  }

  /**
   * Code a latent [h, w, C] (8-bit units) at local quality codes [h, w].
   *
   * price: squared error, in squared quantiser steps, that a bit must save to be written.
   */
  encode(
    latent: Float32Array,
    quality: Grid<Int32Array>,
    baseCode: number,
    price = BIT_PRICE,
  ): Encoded {
    const zones = this.coder.bitsOfOne.map((bits) => bits * fround(price / 2));
    const hyper = this.analyseHyper(latent, quality, baseCode);
    const prices: Float32Array[] = [];
    const bits: Float32Array[] = [];
    const written = this.write(hyper, quality, baseCode, ({ places, channel, width }, means, of) => {
      const symbols = new Int32Array(means.length);
      const distances = new Float32Array(means.length); // of the gained latent to its mean
      let some = 0;
      for (let n = 0, i = 0; n < places.length; n++) {
        const place = places[n]!;
        const gain = quality.values[place]! * this.channels + channel;
        const from = place * this.channels + channel;
        for (let c = 0; c < width; c++, i++) {
          if (!of[i]) continue;
          const gained = fround(latent[from + c]! * this.gains[gain + c]!);
          const distance = fround(gained - means[i]! / MEAN_UNIT);
          const zone = zones[of[i]!]!;
          const drawn = fround(distance - Math.min(Math.max(distance, -zone), zone));
          const symbol = Math.floor(fround(drawn + 0.5));
          symbols[i] = Math.min(Math.max(symbol, -SYMBOL_LIMIT), SYMBOL_LIMIT);
          distances[i] = distance;
          if (symbol) some++;
        }
      }
      const ownPrices = new Float32Array(some);
      const ownBits = new Float32Array(some);
      for (let i = 0, at = 0; i < symbols.length; i++) {
        if (!symbols[i]) continue;
        const size = Math.abs(symbols[i]!);
        const ofOne = this.coder.bitsOfOne[of[i]!]!;
        // Under a Gaussian the step from n to n - 1 saves 2n - 1 times what that from 1 to 0 does.
        ownPrices[at] = (2 * (Math.abs(distances[i]!) - size + 0.5)) / ofOne;
        ownBits[at++] = ofOne * (2 * size - 1);
      }
      prices.push(ownPrices);
      bits.push(ownBits);
      return symbols;
    });
    return { ...written, prices: joined(prices), bits: joined(bits) };
  }

  /** Code a hyper latent and the symbols that are told for each group of each pass. */
  write(
    hyper: Hyper,
    quality: Grid<Int32Array>,
    baseCode: number,
    symbolsOf: SymbolsOf,
  ): { payload: Uint8Array; check: number } {
    const values = new Int32Array(quality.values.length * this.channels);
    const passes: [Int32Array, Uint8Array][] = [];
    this.walk(hyper, quality, (here, means, indices) => {
      const symbols = symbolsOf(here, means, indices);
      this.place(here, symbols, values);
      passes.push([symbols, indices]);
      return symbols;
    });
    const coder = new Coder();
    for (const [symbols, indices] of passes.reverse()) this.coder.push(coder, symbols, indices);
    this.coder.push(coder, hyper.values, this.hyperIndices(baseCode, hyper.values.length));
    return { payload: coder.payload(), check: checkOf(hyper.values, values) };
  }

  /** The integers of a payload. Throws `decoder_mismatch` where it was written otherwise. */
  read(payload: Uint8Array, check: number, quality: Grid<Int32Array>, baseCode: number): Symbols {
    let coder: Coder;
    try {
      coder = new Coder(payload);
    } catch (error) {
      throw mismatch(`the latents are not an ANS stream: ${(error as Error).message}`);
    }
    const rows = Math.ceil(quality.rows / 4);
    const columns = Math.ceil(quality.columns / 4);
    const indices = this.hyperIndices(baseCode, rows * columns * this.hyperChannels);
    const hyper = {
      rows,
      columns,
      values: this.coder
        .pop(coder, indices)
        .map((value) => Math.min(Math.max(value, -WEIGHT_LIMIT), WEIGHT_LIMIT)),
    };
    const values = new Int32Array(quality.values.length * this.channels);
    const means = new Int16Array(values.length);
    this.walk(hyper, quality, (here, ownMeans, ownIndices) => {
      const symbols = this.coder.pop(coder, ownIndices);
      this.place(here, symbols, values);
      this.place(here, ownMeans, means);
      return symbols;
    });
    if (!coder.isEmpty || checkOf(hyper.values, values) !== check) {
      throw mismatch("the decoded symbols do not match the stream's check");
    }
    return { hyper, values, means };
  }

  /** How many values of a latent are half a quantiser step or more from zero. */
  significant(latent: Float32Array, quality: Grid<Int32Array>): number {
    let count = 0;
    quality.values.forEach((code, place) => {
      const [from, gain] = [place * this.channels, code * this.channels];
      for (let c = 0; c < this.channels; c++) {
        if (Math.abs(fround(latent[from + c]! * this.gains[gain + c]!)) >= 0.5) count++;
      }
    });
    return count;
  }

  private walk(hyper: Hyper, quality: Grid<Int32Array>, symbolsOf: SymbolsOf): void {
    this.network.walk(this.network.features(hyper, quality), quality, symbolsOf);
  }

  private place(
    { places, channel, width }: { places: Int32Array; channel: number; width: number },
    from: Int32Array | Int16Array,
    to: Int32Array | Int16Array,
  ): void {
    for (let n = 0; n < places.length; n++) {
      const at = places[n]! * this.channels + channel;
      to.set(from.subarray(n * width, (n + 1) * width), at);
    }
  }

  private hyperIndices(baseCode: number, count: number): Uint8Array {
    const width = this.hyperChannels;
    return Uint8Array.from({ length: count }, (_, i) => {
      return this.hyperScales[baseCode * width + (i % width)]!;
    });
  }

  /** Integer hyper latent of a latent: the one part that is found in floats, by the writer alone. */
  private analyseHyper(latent: Float32Array, quality: Grid<Int32Array>, baseCode: number): Hyper {
    let rows = Math.ceil(quality.rows / 4) * 4;
    let columns = Math.ceil(quality.columns / 4) * 4;
    let x = new Float32Array(rows * columns * this.channels);
    quality.values.forEach((code, place) => {
      const row = Math.floor(place / quality.columns);
      const to = (row * columns + (place % quality.columns)) * this.channels;
      const [from, gain] = [place * this.channels, code * this.channels];
      for (let c = 0; c < this.channels; c++) {
        x[to + c] = latent[from + c]! * this.gains[gain + c]!;
      }
    });
    this.hyperAnalysis.forEach((layer, i) => {
      if (i) {
        x = spaceToDepth(x, rows, columns);
        rows /= 2;
        columns /= 2;
      }
      x = layer.apply(x, rows * columns) as Float32Array<ArrayBuffer>;
      if (i < 2) x = x.map((value) => Math.max(value, 0));
    });
    const first = baseCode * this.hyperChannels;
    const values = Int32Array.from(x, (value, i) => {
      const channel = first + (i % this.hyperChannels);
      if (!this.hyperScales[channel]) return 0;
      const scaled = Math.floor(fround(fround(value * this.hyperGains[channel]!) + 0.5));
      return Math.min(Math.max(scaled, -WEIGHT_LIMIT), WEIGHT_LIMIT);
    });
    return { rows, columns, values };
  }
}

/** 16 bits of the CRC-32 over all symbols as little-endian 16-bit integers. */
function checkOf(hyper: Int32Array, values: Int32Array): number {
  const bytes = (of: Int32Array): Uint8Array => {
    const raw = new Uint8Array(2 * of.length);
    of.forEach((value, i) => {
      raw[2 * i] = value & 0xff;
      raw[2 * i + 1] = (value >> 8) & 0xff;
    });
    return raw;
  };
  return crc32(bytes(values), crc32(bytes(hyper))) & 0xffff;
}

/** [2h, 2w, C] -> [h, w, 4C]: (2y + i, 2x + j) of channel k goes to channel 4k + 2i + j. */
function spaceToDepth(x: Float32Array, rows: number, columns: number): Float32Array<ArrayBuffer> {
  const out = new Float32Array(x.length);
  const channels = x.length / (rows * columns);
  for (let row = 0, to = 0; row < rows; row += 2) {
    for (let column = 0; column < columns; column += 2) {
      for (let k = 0; k < channels; k++) {
        for (let i = 0; i < 2; i++) {
          for (let j = 0; j < 2; j++) {
            out[to++] = x[((row + i) * columns + column + j) * channels + k]!;
          }
        }
      }
    }
  }
  return out;
}

function joined(parts: Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function need(arrays: Arrays, name: string): { shape: readonly number[]; values: ArrayLike<number> } {
  const array = arrays.get(name);
  if (!array) throw new RangeError(`${name} is missing`);
  return array;
}

function mismatch(message: string): CotamError {
  return new CotamError(
    "decoder_mismatch",
    message,
    "encode again with the bundle that the stream names",
  );
}

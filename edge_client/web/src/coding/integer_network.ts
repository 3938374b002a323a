// Means and scale indices of the latents, from integers alone, so that every machine finds the same.
// docs/bitstream.md, section 4.2; shared/coding/integer_network.py.

import type { Grid } from "../level_map.js";
import type { NumpyArray } from "../npz.js";
import { roundHalfEven } from "../numbers.js";
import { IntegerLayer, Workspace } from "./layers.js";

export const SCALES = 64;
export const CODES = 181; // quality codes 0..180
export const MEAN_UNIT = 16;
export const WEIGHT_LIMIT = 127;
const KNOTS = 10;
const ACTIVATION_MAX = 255;
const SIGNED_LIMIT = 2047;
const SYMBOL_SEEN = 127;
const CONTEXT_LIMIT = 127;
const EXACT = 2 ** 24;
const GROUPS = 6;
const BLOCK = 512; // latents at a time
const STRAIGHT = [[-1, 0], [1, 0], [0, -1], [0, 1]] as const;
const DIAGONAL = [[-1, -1], [-1, 1], [1, -1], [1, 1]] as const;
const PASSES = [
  { row: 0, column: 0, near: [] },
  { row: 1, column: 1, near: DIAGONAL },
  { row: 0, column: 1, near: STRAIGHT },
  { row: 1, column: 0, near: [...STRAIGHT, ...DIAGONAL] },
] as const;
const SIGNED_INPUT = new Set(["hyper1", "context", "own"]);

/** By quality code less a neighbour's, plus 180: 256ths of the neighbour's step in the own one. */
const RATIOS = Int32Array.from({ length: 2 * CODES - 1 }, (_, i) =>
  roundHalfEven(256 * 30 ** ((i - (CODES - 1)) / (CODES - 1))),
);

export type Arrays = ReadonlyMap<string, NumpyArray>;

/** The latents of one group of channels of one pass. */
export interface Here {
  readonly places: Int32Array; // row * columns + column of each position
  readonly channel: number; // the first
  readonly width: number; // how many channels
}

/** Symbols [N, width] where means (sixteenths) and scale indices [N, width] are known. */
export type SymbolsOf = (here: Here, means: Int16Array, indices: Uint8Array) => Int32Array;

/** Hyper latents [rows, columns, channels]. */
export type Hyper = Grid<Int32Array>;

/** Reads layers from arrays. Throws RangeError for those that do not fit one another. */
export class IntegerNetwork {
  private readonly layers = new Map<string, IntegerLayer>();
  private readonly widths: readonly number[];

  constructor(
    arrays: Arrays,
    private readonly channels: number,
    private readonly hyperChannels: number,
  ) {
    const names = ["hyper1", "hyper2", "hyper3", "mix", "context"];
    PASSES.forEach((_, k) => {
      names.push(`hidden.${k}`);
      for (let g = 0; g < GROUPS; g++) {
        names.push(`mean.${k}.${g}`, `scale.${k}.${g}`);
        if (g < GROUPS - 1) names.push(`own.${k}.${g}`);
      }
    });
    const workspace = new Workspace();
    for (const name of names) this.layers.set(name, layerOf(workspace, name, arrays));
    this.widths = Array.from({ length: GROUPS }, (_, g) => this.layer(`mean.0.${g}`).outputs);
    this.checkForm();
  }

  /** What hyper latents and quality codes tell of each latent: [h, w, F], 0..255. */
  features(hyper: Hyper, quality: Grid<Int32Array>): Uint8Array {
    const { rows, columns } = hyper;
    const channels = this.hyperChannels;
    const taps = new Int32Array(rows * columns * 9 * channels);
    for (let place = 0, at = 0; place < rows * columns; place++) {
      const [row, column] = [Math.floor(place / columns), place % columns];
      for (let y = row - 1; y <= row + 1; y++) {
        for (let x = column - 1; x <= column + 1; x++, at += channels) {
          if (y < 0 || x < 0 || y >= rows || x >= columns) continue;
          const from = (y * columns + x) * channels;
          taps.set(hyper.values.subarray(from, from + channels), at);
        }
      }
    }
    const first = this.run("hyper1", taps, rows * columns);
    const second = depthToSpace(this.run("hyper2", first, rows * columns), rows, columns);
    const third = this.run("hyper3", second, 4 * rows * columns);
    const spread = depthToSpace(third, 2 * rows, 2 * columns);
    const known = this.layer("hyper3").outputs / 4;
    const mix = this.layer("mix");
    const features = new Uint8Array(quality.values.length * mix.outputs);
    const x = new Int32Array(BLOCK * mix.inputs);
    const out = new Int32Array(BLOCK * mix.outputs);
    forBlocks(quality.values.length, (start, stop) => {
      for (let place = start, at = 0; place < stop; place++, at += mix.inputs) {
        const [row, column] = [Math.floor(place / quality.columns), place % quality.columns];
        const from = (row * 4 * columns + column) * known;
        x.set(spread.subarray(from, from + known), at);
        const code = quality.values[place]!;
        for (let k = 0; k < KNOTS; k++) {
          x[at + known + k] = 12 * Math.max(0, 20 - Math.abs(code - 20 * k));
        }
      }
      mix.apply(x, stop - start, out);
      features.set(out.subarray(0, (stop - start) * mix.outputs), start * mix.outputs);
    });
    return features;
  }

  /** Ask for the symbols of each group of each pass, with what those before it told. */
  walk(features: Uint8Array, quality: Grid<Int32Array>, symbolsOf: SymbolsOf): void {
    const seen = new Uint8Array(quality.values.length * this.layer("context").outputs);
    PASSES.forEach((pass, k) => {
      const places = placesOf(quality, pass.row, pass.column);
      const activations = this.activations(k, features, seen, quality, places);
      const latents = new Int32Array(places.length * this.channels); // sixteenths
      let channel = 0;
      this.widths.forEach((width, g) => {
        const means = this.outputs(`mean.${k}.${g}`, activations, places.length, Int16Array);
        const indices = this.outputs(`scale.${k}.${g}`, activations, places.length, Uint8Array);
        const symbols = symbolsOf({ places, channel, width }, means, indices);
        if (g < GROUPS - 1) this.add(`own.${k}.${g}`, symbols, activations);
        for (let i = 0, n = 0; n < places.length; n++) {
          for (let c = 0; c < width; c++, i++) {
            latents[n * this.channels + channel + c] = MEAN_UNIT * symbols[i]! + means[i]!;
          }
        }
        channel += width;
      });
      if (k < PASSES.length - 1) this.remember(seen, places, latents);
    });
  }

  /** What pass `k` knows of its positions before it reads: [N, H]. */
  private activations(
    k: number,
    features: Uint8Array,
    seen: Uint8Array,
    quality: Grid<Int32Array>,
    places: Int32Array,
  ): Int16Array {
    const { rows, columns, values: codes } = quality;
    const { near } = PASSES[k]!;
    const hidden = this.layer(`hidden.${k}`);
    const wide = this.layer("mix").outputs;
    const context = this.layer("context").outputs;
    const activations = new Int16Array(places.length * hidden.outputs);
    const x = new Int32Array(BLOCK * hidden.inputs);
    const out = new Int32Array(BLOCK * hidden.outputs);
    forBlocks(places.length, (start, stop) => {
      x.fill(0);
      for (let n = start, at = 0; n < stop; n++) {
        const place = places[n]!;
        const [row, column] = [Math.floor(place / columns), place % columns];
        for (let f = place * wide; f < (place + 1) * wide; f++) x[at++] = features[f]!;
        for (const [down, right] of near) {
          const [y, z] = [row + down, column + right];
          if (y < 0 || z < 0 || y >= rows || z >= columns) {
            at += context;
            continue;
          }
          const neighbour = y * columns + z;
          const ratio = RATIOS[CODES - 1 + codes[place]! - codes[neighbour]!]!;
          for (let c = neighbour * context; c < (neighbour + 1) * context; c++) {
            const value = (seen[c]! * ratio + 128) >> 8;
            x[at++] = value > ACTIVATION_MAX ? ACTIVATION_MAX : value;
          }
        }
      }
      hidden.apply(x, stop - start, out);
      activations.set(out.subarray(0, (stop - start) * hidden.outputs), start * hidden.outputs);
    });
    return activations;
  }

  private outputs<T extends Int16Array | Uint8Array>(
    name: string,
    activations: Int16Array,
    count: number,
    kind: new (length: number) => T,
  ): T {
    const layer = this.layer(name);
    const outputs = new kind(count * layer.outputs);
    const x = new Int32Array(BLOCK * layer.inputs);
    const out = new Int32Array(BLOCK * layer.outputs);
    forBlocks(count, (start, stop) => {
      for (let i = start * layer.inputs, at = 0; i < stop * layer.inputs; i++) {
        const value = activations[i]!;
        x[at++] = value < 0 ? 0 : value > ACTIVATION_MAX ? ACTIVATION_MAX : value;
      }
      layer.apply(x, stop - start, out);
      outputs.set(out.subarray(0, (stop - start) * layer.outputs), start * layer.outputs);
    });
    return outputs;
  }

  /** Add to what a pass knows, [N, H], what a layer says of symbols [N, width]. */
  private add(name: string, symbols: Int32Array, activations: Int16Array): void {
    const layer = this.layer(name);
    const width = layer.inputs / 2;
    const x = new Int32Array(BLOCK * layer.inputs);
    const out = new Int32Array(BLOCK * layer.outputs);
    forBlocks(symbols.length / width, (start, stop) => {
      for (let n = start, at = 0; n < stop; n++, at += layer.inputs) {
        for (let c = 0; c < width; c++) {
          const symbol = clip(symbols[n * width + c]!, SYMBOL_SEEN);
          x[at + c] = symbol;
          x[at + width + c] = Math.abs(symbol);
        }
      }
      layer.apply(x, stop - start, out);
      const first = start * layer.outputs;
      for (let i = 0; i < (stop - start) * layer.outputs; i++) activations[first + i]! += out[i]!;
    });
  }

  /** Note what later passes see of latents [N, C] in sixteenths. */
  private remember(seen: Uint8Array, places: Int32Array, latents: Int32Array): void {
    const context = this.layer("context");
    const x = new Int32Array(BLOCK * context.inputs);
    const out = new Int32Array(BLOCK * context.outputs);
    forBlocks(places.length, (start, stop) => {
      for (let i = start * context.inputs, at = 0; i < stop * context.inputs; i++) {
        x[at++] = clip((latents[i]! + MEAN_UNIT / 4) >> 3, CONTEXT_LIMIT);
      }
      context.apply(x, stop - start, out);
      for (let n = start, at = 0; n < stop; n++, at += context.outputs) {
        seen.set(out.subarray(at, at + context.outputs), places[n]! * context.outputs);
      }
    });
  }

  private run(name: string, x: Int32Array, rows: number): Int32Array {
    const layer = this.layer(name);
    const out = new Int32Array(rows * layer.outputs);
    layer.apply(x, rows, out);
    return out;
  }

  private layer(name: string): IntegerLayer {
    return this.layers.get(name)!;
  }

  private checkForm(): void {
    const outputs = (name: string): number => this.layer(name).outputs;
    const wanted = new Map([
      ["hyper1", 9 * this.hyperChannels],
      ["hyper2", outputs("hyper1")],
      ["hyper3", outputs("hyper2") / 4],
      ["mix", outputs("hyper3") / 4 + KNOTS],
      ["context", this.channels],
    ]);
    if (this.widths.reduce((sum, width) => sum + width) !== this.channels) {
      throw new RangeError(`the groups do not hold ${this.channels} channels`);
    }
    PASSES.forEach(({ near }, k) => {
      const hidden = outputs(`hidden.${k}`);
      wanted.set(`hidden.${k}`, outputs("mix") + near.length * outputs("context"));
      this.widths.forEach((width, g) => {
        wanted.set(`mean.${k}.${g}`, hidden).set(`scale.${k}.${g}`, hidden);
        if (outputs(`mean.${k}.${g}`) !== width || outputs(`scale.${k}.${g}`) !== width) {
          throw new RangeError(`group ${g} of pass ${k} has another width`);
        }
        if (g === GROUPS - 1) return;
        wanted.set(`own.${k}.${g}`, 2 * width);
        if (outputs(`own.${k}.${g}`) !== hidden) {
          throw new RangeError(`layer own.${k}.${g} has another width`);
        }
      });
    });
    for (const [name, count] of wanted) {
      if (this.layer(name).inputs !== count) {
        throw new RangeError(`layer ${name} takes ${this.layer(name).inputs} inputs, not ${count}`);
      }
    }
  }
}

function layerOf(workspace: Workspace, name: string, arrays: Arrays): IntegerLayer {
  const [weight, bias, shift] = ["weight", "bias", "shift"].map((kind) =>
    arrays.get(`${name}.${kind}`),
  );
  if (!weight || !bias || !shift) throw new RangeError(`layer ${name} is missing`);
  const outputs = bias.values.length;
  if (weight.shape.length !== 2 || weight.shape[1] !== outputs || shift.values.length !== outputs) {
    throw new RangeError(`layer ${name} lacks a bias or shift for each output`);
  }
  const [kind] = name.split(".") as [string];
  const largest = SIGNED_INPUT.has(kind) ? WEIGHT_LIMIT : ACTIVATION_MAX;
  for (let o = 0; o < outputs; o++) {
    let worst = Math.abs(bias.values[o]!);
    for (let i = o; i < weight.values.length; i += outputs) {
      worst += Math.abs(weight.values[i]!) * largest;
    }
    if (worst >= EXACT || shift.values[o]! < 0 || shift.values[o]! > 23) {
      throw new RangeError(`layer ${name} can leave the exact range`);
    }
  }
  const isSigned = kind === "hidden" || kind === "own" || kind === "mean";
  const high = isSigned ? SIGNED_LIMIT : kind === "scale" ? SCALES - 1 : ACTIVATION_MAX;
  return new IntegerLayer(
    workspace,
    weight.values,
    bias.values,
    shift.values,
    isSigned ? -SIGNED_LIMIT : 0,
    high,
  );
}

/** Positions whose row and column leave these remainders when divided by 2. */
function placesOf(shape: Grid<unknown>, row: number, column: number): Int32Array {
  const places: number[] = [];
  for (let y = row; y < shape.rows; y += 2) {
    for (let x = column; x < shape.columns; x += 2) places.push(y * shape.columns + x);
  }
  return Int32Array.from(places);
}

function forBlocks(count: number, visit: (start: number, stop: number) => void): void {
  for (let start = 0; start < count; start += BLOCK) visit(start, Math.min(count, start + BLOCK));
}

/** [h, w, 4C] -> [2h, 2w, C]: channel 4k + 2i + j goes to channel k of (2y + i, 2x + j). */
function depthToSpace(x: Int32Array, rows: number, columns: number): Int32Array {
  const out = new Int32Array(x.length);
  const channels = x.length / (4 * rows * columns);
  for (let row = 0, from = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      for (let k = 0; k < channels; k++) {
        for (let i = 0; i < 2; i++) {
          for (let j = 0; j < 2; j++) {
            const place = (2 * row + i) * 2 * columns + 2 * column + j;
            out[place * channels + k] = x[from++]!;
          }
        }
      }
    }
  }
  return out;
}

function clip(value: number, limit: number): number {
  return value < -limit ? -limit : value > limit ? limit : value;
}

// The level map: which cells of a picture get fewer bits, which more, and how that is coded.
// docs/bitstream.md, section 3; shared/level_map.py.

import { ByteCoder, type Chances } from "./coding/byte_ans.js";
import { CHANCES } from "./coding/level_tables.js";
import { CotamError } from "./errors.js";
import { meanOf } from "./numbers.js";

export const STRIDE = 16; // pixels of a latent
const CELLS = [16, 32, 64] as const;
const LEVELS = [2, 3, 5] as const;
const MAX_CODE = 180;
const STEP_UNIT = 5;
const MAX_STEP = 75;
const USUAL_FORM = 0x60; // cells of 16 pixels, two levels, step 30
const AS_USUAL: Chances = [252];
const COARSEST = 16;
const DIAGONAL = [[-1, -1], [-1, 1], [1, -1], [1, 1]] as const;
const STRAIGHT = [[-1, 0], [1, 0], [0, -1], [0, 1]] as const;

/** By number of levels: how many steps from the base quality each is. */
const OFFSETS: Readonly<Record<number, readonly number[]>> = {
  2: [-1, 1],
  3: [-1, 0, 1],
  5: [-2, -1, 0, 1, 2],
};
/** By number of levels: where the next begins, in k deviations from the mean importance. */
const THRESHOLDS: Readonly<Record<number, readonly number[]>> = {
  2: [1],
  3: [-1, 1],
  5: [-2, -1, 1, 2],
};

/** Rows and columns of something that lies on a picture. */
export interface Shape {
  readonly rows: number;
  readonly columns: number;
}

/** A grid of numbers, row by row. */
export interface Grid<T> extends Shape {
  readonly values: T;
}

/** Levels of the cells, of `cell` pixels a side; `step` in quality codes (1/20). */
export class LevelMap implements Grid<Uint8Array> {
  constructor(
    readonly values: Uint8Array,
    readonly rows: number,
    readonly columns: number,
    readonly cell: number,
    readonly levels: number,
    readonly step: number,
  ) {
    if (!(CELLS as readonly number[]).includes(cell) || !(levels in OFFSETS)) {
      throw malformed(`no level map has ${levels} levels on ${cell} pixels`);
    }
    if (step % STEP_UNIT || step < 0 || step > MAX_STEP) {
      throw malformed(`the step is ${step}: multiples of ${STEP_UNIT} up to ${MAX_STEP} are coded`);
    }
  }

  /** Whether all cells have one level: such a map is left out of a stream. */
  get isFlat(): boolean {
    return this.values.every((level) => level === this.values[0]);
  }

  /** Quality codes of the latents of a picture. */
  codes(base: number, width: number, height: number): Grid<Int32Array> {
    const { rows, columns } = latentShape(width, height);
    const values = new Int32Array(rows * columns);
    const repeat = this.cell / STRIDE;
    const codes = OFFSETS[this.levels]!.map((offset) =>
      Math.min(Math.max(base + offset * this.step, 0), MAX_CODE),
    );
    for (let row = 0; row < rows; row++) {
      const first = Math.floor(row / repeat) * this.columns;
      for (let column = 0; column < columns; column++) {
        const level = this.values[first + Math.floor(column / repeat)]!;
        values[row * columns + column] = codes[level]!;
      }
    }
    return { rows, columns, values };
  }

  /** The payload of the level map chunk. */
  encode(): Uint8Array {
    const form =
      CELLS.indexOf(this.cell as 16) |
      (LEVELS.indexOf(this.levels as 2) << 2) |
      ((this.step / STEP_UNIT) << 4);
    const cells = [...visits(this)].reverse();
    const coder = new ByteCoder();
    for (const [place, chances] of cells) coder.push(this.values[place]!, chances);
    for (let bit = 7; bit >= 0; bit--) {
      coder.push((((form ^ USUAL_FORM) >> bit) & 1) ^ 1, AS_USUAL);
    }
    return coder.payload();
  }

  /** Read a payload for a picture. Throws `stream_malformed` where it is none. */
  static decode(payload: Uint8Array, width: number, height: number): LevelMap {
    let coder: ByteCoder;
    try {
      coder = new ByteCoder(payload);
    } catch (error) {
      throw malformed(`the level map is not an ANS stream: ${(error as Error).message}`);
    }
    let form = USUAL_FORM;
    for (let bit = 0; bit < 8; bit++) form ^= (coder.pop(AS_USUAL) ^ 1) << bit;
    const cell = CELLS[form & 3];
    const levels = LEVELS[(form >> 2) & 3];
    if (cell === undefined || levels === undefined) {
      throw malformed("the level map has cells of an unknown size or number of levels");
    }
    const { rows, columns } = cellShape(width, height, cell);
    const values = new Uint8Array(rows * columns);
    const map = new LevelMap(values, rows, columns, cell, levels, (form >> 4) * STEP_UNIT);
    for (const [place, chances] of visits(map)) values[place] = coder.pop(chances);
    if (!coder.isEmpty) throw malformed("the level map is longer than its cells");
    return map;
  }
}

/**
 * Levels of an importance map, by its own mean and deviation (CoTAM, section 4.1).
 *
 * Three levels: below mean - k deviations, between, above mean + k deviations. Importance that is
 * the same everywhere takes bits from no cell.
 */
export function quantiseImportance(
  importance: Float32Array,
  levels: number,
  k: number,
): Uint8Array<ArrayBuffer> {
  const mean = meanOf(importance);
  let squares = 0;
  let largest = 0;
  for (const value of importance) {
    squares += (value - mean) ** 2;
    largest = Math.max(largest, Math.abs(value));
  }
  const deviation = Math.sqrt(squares / importance.length);
  if (deviation <= 1e-6 * Math.max(1e-12, largest)) {
    return new Uint8Array(importance.length).fill(levels >> 1);
  }
  const thresholds = THRESHOLDS[levels]!.map((threshold) => k * threshold);
  return Uint8Array.from(importance, (value) => {
    const score = (value - mean) / deviation;
    return thresholds.filter((threshold) => threshold <= score).length;
  });
}

/** Rows and columns of the latent of a picture. */
export function latentShape(width: number, height: number): Shape {
  return cellShape(width, height, STRIDE);
}

/** Rows and columns of cells of `cell` pixels that cover a picture. */
export function cellShape(width: number, height: number, cell: number): Shape {
  return { rows: Math.ceil(height / cell), columns: Math.ceil(width / cell) };
}

/** Quality codes of a picture without a level map. */
export function flatCodes(base: number, width: number, height: number): Grid<Int32Array> {
  const { rows, columns } = latentShape(width, height);
  return { rows, columns, values: new Int32Array(rows * columns).fill(base) };
}

/** Place and chances of each cell as it is coded; these follow from the values at that time. */
function* visits(map: LevelMap): Generator<[place: number, chances: Chances]> {
  const { rows, columns, levels } = map;
  const tables = CHANCES[levels]!;
  for (let row = 0; row < rows; row += COARSEST) {
    for (let column = 0; column < columns; column += COARSEST) {
      yield [row * columns + column, tables["alone"]!];
    }
  }
  for (let distance = COARSEST / 2; distance >= 1; distance /= 2) {
    for (const isDiagonal of [true, false]) {
      for (let row = 0; row < rows; row += distance) {
        for (let column = 0; column < columns; column += distance) {
          const odd = ((row / distance) & 1) + ((column / distance) & 1);
          if (odd !== (isDiagonal ? 2 : 1)) continue;
          const context = contextOf(map, row, column, distance, isDiagonal);
          yield [row * columns + column, tables[context]!];
        }
      }
    }
  }
}

function contextOf(
  map: LevelMap,
  row: number,
  column: number,
  distance: number,
  isDiagonal: boolean,
): string {
  const offsets = OFFSETS[map.levels]!;
  let known = 0;
  let below = 0;
  let above = 0;
  for (const [down, right] of isDiagonal ? DIAGONAL : STRAIGHT) {
    const y = row + down * distance;
    const x = column + right * distance;
    if (y < 0 || x < 0 || y >= map.rows || x >= map.columns) continue;
    const offset = offsets[map.values[y * map.columns + x]!]!;
    known++;
    if (offset < 0) below++;
    if (offset > 0) above++;
  }
  const direction = isDiagonal ? "diagonal" : "straight";
  if (map.levels === 2) return `${direction} ${Math.min(distance, 4)} ${above}`;
  if (!known) return "alone";
  const quarters = (count: number): number => Math.floor((4 * count) / known);
  return `${direction} ${quarters(below)} ${quarters(above)}`;
}

function malformed(message: string): CotamError {
  return new CotamError("stream_malformed", message);
}

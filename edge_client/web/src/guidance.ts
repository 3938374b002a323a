// Importance of the parts of a picture, by the first blocks of the bundle's tower, and the level map
// that it becomes: edge_client/guidance/guide.py.

import type { Manifest } from "./bundle.js";
import type { Graph } from "./graph.js";
import { cellShape, type Grid, LevelMap, quantiseImportance, type Shape } from "./level_map.js";
import { meanOf } from "./numbers.js";
import { crop, type Picture } from "./pictures/picture.js";
import { fitted, reduce, scale } from "./pictures/scaling.js";
import { starts } from "./tiles.js";

const CELL_OF_LARGE = 32; // pixels a side at least

/** Importance of places, row by row. */
export type Importance = Grid<Float32Array>;

/** Importance of what was looked at, and what a level map of it is expected to gain. */
interface Look extends Importance {
  readonly gain: number;
}

/** Turns a picture into its level map. */
export class Guide {
  constructor(
    private readonly manifest: Manifest,
    private readonly graph: Graph,
  ) {}

  /** The level map of a picture; null where none is expected to pay. */
  async paying(picture: Picture): Promise<LevelMap | null> {
    const { cell: small, levels, k, step, side, patch } = this.manifest.guidance;
    const isSeenWhole = Math.max(picture.width, picture.height) <= side;
    const cell = isSeenWhole ? small : Math.max(small, CELL_OF_LARGE);
    const shape = cellShape(picture.width, picture.height, cell);
    const patches = shrink(picture, cell / patch);
    const inTiles = Math.max(patches.width, patches.height) > side;
    const { gain, ...look } = await this.whole(inTiles ? patches : picture);
    if (gain <= 0) return null;
    let { values } = pool(look, shape);
    if (inTiles) {
      const local = pool(await this.tiled(patches), shape);
      const global = ofMeanOne({ ...shape, values });
      values = global.values.map((value, i) => value + local.values[i]!);
    }
    const { rows, columns } = shape;
    const found = quantiseImportance(values, levels, k);
    const map = new LevelMap(found, rows, columns, cell, levels, step);
    return map.isFlat ? null : map;
  }

  /** The picture lies in the top left corner of the square, its long side filling it. */
  private whole(picture: Picture): Promise<Look> {
    const [width, height] = fitted(picture.width, picture.height, this.manifest.guidance.side);
    return this.attention(scale(picture, width, height));
  }

  /** Mean over the tiles that see a patch. How tiles compare, the whole picture's map knows. */
  private async tiled(picture: Picture): Promise<Importance> {
    const { side, patch } = this.manifest.guidance;
    const shape = cellShape(picture.width, picture.height, patch);
    const total = new Float32Array(shape.rows * shape.columns);
    const count = new Float32Array(total.length);
    for (const top of starts(picture.height, side, patch)) {
      for (const left of starts(picture.width, side, patch)) {
        const tile = ofMeanOne(await this.attention(crop(picture, left, top, side, side)));
        for (let row = 0, from = 0; row < tile.rows; row++) {
          const to = (top / patch + row) * shape.columns + left / patch;
          for (let column = 0; column < tile.columns; column++, from++) {
            total[to + column]! += tile.values[from]!;
            count[to + column]! += 1;
          }
        }
      }
    }
    return { ...shape, values: total.map((value, i) => value / count[i]!) };
  }

  /**
   * Attention to the patches of a picture that is at most as large as the square. A level map gains
   * anything where the graph does not say.
   */
  private async attention(picture: Picture): Promise<Look> {
    const { side, patch } = this.manifest.guidance;
    const planes = new Float32Array(3 * side * side);
    this.manifest.tower.fill.forEach((colour, channel) => {
      const plane = planes.subarray(channel * side * side, (channel + 1) * side * side);
      plane.fill(colour / 255);
      for (let row = 0, from = channel; row < picture.height; row++) {
        for (let column = 0; column < picture.width; column++, from += 3) {
          plane[row * side + column] = picture.pixels[from]! / 255;
        }
      }
    });
    const { importance, gain } = await this.graph.run(planes, { rows: side, columns: side });
    const wide = Math.ceil(side / patch);
    const { rows, columns } = cellShape(picture.width, picture.height, patch);
    const values = new Float32Array(rows * columns);
    for (let row = 0; row < rows; row++) {
      values.set(importance!.subarray(row * wide, row * wide + columns), row * columns);
    }
    return { rows, columns, values, gain: gain?.[0] ?? Infinity };
  }
}

/** The picture at 1 / factor of its size, rounded up; never larger than it is. */
function shrink(picture: Picture, factor: number): Picture {
  if (factor <= 1) return picture;
  if (Number.isInteger(factor)) return reduce(picture, factor);
  return scale(picture, Math.ceil(picture.width / factor), Math.ceil(picture.height / factor));
}

function ofMeanOne(importance: Importance): Importance {
  const mean = Math.fround(meanOf(importance.values));
  return { ...importance, values: importance.values.map((x) => (mean > 0 ? x / mean : 1)) };
}

/** Means over a grid of windows that cover the values, as torch's adaptive average pooling. */
export function pool(importance: Importance, shape: Shape): Importance {
  const { rows, columns, values } = importance;
  const tall = alongAxis(values, rows, columns, columns, 1, shape.rows);
  const turned = alongAxis(tall, columns, shape.rows, 1, columns, shape.columns);
  // Column by column now: back to rows.
  const pooled = new Float32Array(shape.rows * shape.columns);
  for (let row = 0; row < shape.rows; row++) {
    for (let column = 0; column < shape.columns; column++) {
      pooled[row * shape.columns + column] = turned[column * shape.rows + row]!;
    }
  }
  return { ...shape, values: pooled };
}

/** Means along an axis of `length` values `step` apart, in `lines` lines: [wanted, lines]. */
function alongAxis(
  values: Float32Array,
  length: number,
  lines: number,
  step: number,
  line: number,
  wanted: number,
): Float32Array {
  const means = new Float32Array(wanted * lines);
  for (let number = 0; number < lines; number++) {
    const sums = new Float64Array(length + 1);
    for (let i = 0; i < length; i++) sums[i + 1] = sums[i]! + values[number * line + i * step]!;
    for (let to = 0; to < wanted; to++) {
      const start = Math.floor((to * length) / wanted);
      const stop = Math.ceil(((to + 1) * length) / wanted);
      means[to * lines + number] = (sums[stop]! - sums[start]!) / (stop - start);
    }
  }
  return means;
}

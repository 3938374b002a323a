// Which cells of a picture hold print, told from its latent: edge_client/guidance/print_map.py.

import type { Graph } from "./graph.js";
import { LevelMap, type Shape, STRIDE } from "./level_map.js";

const STEP = 30; // quality codes: print that much finer than asked for, what is around it coarser

/** Turns a latent into a level map that gives bits to print. */
export class PrintGuide {
  constructor(private readonly graph: Graph) {}

  /** The level map of a latent [h, w, C]; null where none is expected to pay. */
  async paying(latent: Float32Array, shape: Shape): Promise<LevelMap | null> {
    const { rows, columns } = shape;
    const size = rows * columns;
    const channels = latent.length / size;
    const planes = latent.map((_, i) => latent[(i % size) * channels + Math.floor(i / size)]!);
    const { print, gain } = await this.graph.run(planes, shape);
    if (gain![0]! <= 0) return null;
    const levels = Uint8Array.from(print!, (value) => Number(value > 0));
    return new LevelMap(levels, rows, columns, STRIDE, 2, STEP);
  }
}

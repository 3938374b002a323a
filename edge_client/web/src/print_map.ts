// Which cells of a picture hold print, told from its latent: edge_client/guidance/print_map.py.

import type { Graph } from "./graph.js";
import { LevelMap, type Shape, STRIDE } from "./level_map.js";
import { spans } from "./tiles.js";

const STEP = 30; // quality codes: print that much finer than asked for, what is around it coarser
const BAND = 32; // rows of latents that are looked at at a time: all of a large picture take much
const MARGIN = 2; // rows beyond its own on which a cell's answer depends

/** Turns a latent into a level map that gives bits to print. */
export class PrintGuide {
  constructor(private readonly graph: Graph) {}

  /** The level map of a latent [h, w, C]; null where none is expected to pay. */
  async paying(latent: Float32Array, shape: Shape): Promise<LevelMap | null> {
    const { rows, columns } = shape;
    const channels = latent.length / (rows * columns);
    const levels = new Uint8Array(rows * columns);
    let expected = 0;
    for (const { start, stop, low, high } of spans(rows, BAND, MARGIN)) {
      const size = (high - low) * columns;
      const planes = new Float32Array(channels * size);
      for (let i = 0; i < planes.length; i++) {
        const [channel, place] = [Math.floor(i / size), low * columns + (i % size)];
        planes[i] = latent[place * channels + channel]!;
      }
      const { print, gain } = await this.graph.run(planes, { rows: high - low, columns });
      for (let place = start * columns; place < stop * columns; place++) {
        expected += gain![place - low * columns]!;
        levels[place] = Number(print![place - low * columns]! > 0);
      }
    }
    return expected > 0 ? new LevelMap(levels, rows, columns, STRIDE, 2, STEP) : null;
  }
}

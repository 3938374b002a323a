// The edge's half of the codec: edge_client/coding/encoder.py.
//
//   picture --guidance.onnx--> level map --+
//      |                    .-print.onnx-^ |
//      `-----encoder.onnx--> latent -------+--entropy network, ANS--> stream

import { type Bitstream, LIMITS, MAX_QUALITY_CODE, writeBitstream } from "./bitstream.js";
import { Pass, Search } from "./budget.js";
import type { Bundle } from "./bundle.js";
import { BIT_PRICE } from "./coding/symbol_coder.js";
import { EntropyModel } from "./entropy_model.js";
import { CotamError } from "./errors.js";
import { type Graph, openGraph, type Runtime } from "./graph.js";
import { Guide } from "./guidance.js";
import { flatCodes, type Grid, latentShape, type LevelMap, STRIDE } from "./level_map.js";
import { interpolate, roundHalfEven } from "./numbers.js";
import type { Picture } from "./pictures/picture.js";
import { crop } from "./pictures/picture.js";
import { PrintGuide } from "./print_map.js";
import { spans } from "./tiles.js";

export const MAX_QUALITY = MAX_QUALITY_CODE / 20;
const WHOLE = 1152; // pixels a side of what the transform takes in one piece, which is quickest
const TILE = 512; // pixels a side of what it takes at a time of larger pictures
const MARGIN = 64; // pixels around a tile that it sees
const COUNTED_EVERY = 20; // codes
const BYTES_OF_VALUE = 0.49; // what a latent value that is not zero takes, all zeros included
const BYTES_OF_CODE = 0.0005; // what a latent position takes more in each code, of hyper latent
const BYTES_OF_NONE = 24; // what is not of values: container, level map, the start of the coder

/** A picture after the transform: everything but the entropy coding. */
export class Analysed {
  /** latent: [h, w, C] in 8-bit units. levelMap: null where all cells have the same quality. */
  constructor(
    readonly width: number,
    readonly height: number,
    private readonly latent: Float32Array,
    readonly levelMap: LevelMap | null,
    private readonly model: EntropyModel,
    private readonly codecId: Uint8Array,
  ) {}

  /** The stream at a quality of 0 (smallest) to 9 (best). Throws `usage` outside. */
  code(quality: number): Uint8Array<ArrayBuffer> {
    if (!(quality >= 0 && quality <= MAX_QUALITY)) {
      throw new CotamError(
        "usage",
        `the quality is ${quality}`,
        `0 to ${MAX_QUALITY} can be coded`,
      );
    }
    return this.pass(roundHalfEven(quality * 20), BIT_PRICE).stream;
  }

  /**
   * A stream of at most `budget` bytes that fills 95 % of it, in at most 6 coding passes.
   *
   * Throws `usage`, which names the smallest possible size, where the budget is below it.
   */
  codeWithin(budget: number): Uint8Array<ArrayBuffer> {
    const search = new Search(budget, this.expectedSizes());
    let best: Uint8Array<ArrayBuffer> | null = null;
    for (let wanted = search.nextPass(); wanted; wanted = search.nextPass()) {
      const { stream, encoded } = this.pass(wanted.code, wanted.price);
      search.passes.push(new Pass(wanted.code, wanted.price, stream.length, encoded));
      if (stream.length <= budget && stream.length > (best?.length ?? 0)) best = stream;
    }
    if (best) return best;
    const smallest = Math.min(...search.passes.map(({ size }) => size));
    throw new CotamError(
      "usage",
      `the picture does not fit into ${budget} bytes: the smallest possible stream has ${smallest}`,
      "raise the budget or lower the resolution",
    );
  }

  private pass(
    code: number,
    price: number,
  ): { stream: Uint8Array<ArrayBuffer>; encoded: ReturnType<EntropyModel["encode"]> } {
    const encoded = this.model.encode(this.latent, this.codes(code), code, price);
    const stream: Bitstream = {
      codecId: this.codecId,
      width: this.width,
      height: this.height,
      qualityCode: code,
      check: encoded.check,
      levelMap: this.levelMap?.encode() ?? new Uint8Array(),
      latents: encoded.payload,
      extras: [],
    };
    return { stream: writeBitstream(stream), encoded };
  }

  private codes(code: number): Grid<Int32Array> {
    return (
      this.levelMap?.codes(code, this.width, this.height) ??
      flatCodes(code, this.width, this.height)
    );
  }

  /** Bytes of a stream at each code, about, told from its zeros; they rise. */
  private expectedSizes(): number[] {
    const counted: number[] = [];
    const values: number[] = [];
    for (let code = 0, most = 0; code <= MAX_QUALITY_CODE; code += COUNTED_EVERY) {
      counted.push(code);
      most = Math.max(most, this.model.significant(this.latent, this.codes(code)));
      values.push(most);
    }
    const positions = this.latent.length / this.model.channels;
    return Array.from({ length: MAX_QUALITY_CODE + 1 }, (_, code) => {
      const ofValues = BYTES_OF_VALUE * interpolate(code, counted, values);
      return BYTES_OF_NONE + ofValues + BYTES_OF_CODE * positions * code;
    });
  }
}

/** Codes pictures with the edge part of a bundle. */
export class Encoder {
  private constructor(
    readonly bundle: Bundle,
    private readonly transform: Graph,
    private readonly guide: Guide,
    private readonly print: PrintGuide | null,
    private readonly model: EntropyModel,
  ) {}

  static async open(bundle: Bundle, runtime: Runtime = {}): Promise<Encoder> {
    const { files, manifest } = bundle;
    // One after the other: the first starts the runtime.
    const transform = await openGraph(files["encoder.onnx"], "picture", runtime);
    const guide = new Guide(manifest, await openGraph(files["guidance.onnx"], "picture", runtime));
    const file = files["print.onnx"];
    const print = file ? new PrintGuide(await openGraph(file, "latent", runtime)) : null;
    const model = await EntropyModel.load(files["entropy.npz"]);
    return new Encoder(bundle, transform, guide, print, model);
  }

  /** Run guidance and transform on a picture. */
  async analyse(picture: Picture, guidance = true): Promise<Analysed> {
    const { width, height } = picture;
    if (width * height > LIMITS.pixels) {
      throw new CotamError(
        "picture_too_large",
        `the picture has ${width}x${height} pixels, a stream holds at most ${LIMITS.pixels}`,
        "lower the resolution",
      );
    }
    let levelMap = guidance ? await this.guide.paying(picture) : null;
    const latent = await this.latentOf(picture);
    if (guidance && !levelMap && this.print) {
      levelMap = await this.print.paying(latent, latentShape(width, height));
    }
    return new Analysed(width, height, latent, levelMap, this.model, this.bundle.codecId);
  }

  /** Latent [h, w, C]. Tiles see as far as the transform does: they leave no seams. */
  private async latentOf(picture: Picture): Promise<Float32Array> {
    const { rows, columns } = latentShape(picture.width, picture.height);
    const channels = this.model.channels;
    const latent = new Float32Array(rows * columns * channels);
    const isSmall = Math.max(picture.width, picture.height) <= WHOLE;
    const tile = isSmall ? WHOLE : TILE;
    for (const down of spans(rows * STRIDE, tile, MARGIN)) {
      for (const across of spans(columns * STRIDE, tile, MARGIN)) {
        const wide = across.high - across.low;
        const part = crop(picture, across.low, down.low, wide, down.high - down.low);
        const shape = latentShape(part.width, part.height);
        const [padded, tall] = [shape.columns * STRIDE, shape.rows * STRIDE];
        const planes = planesOf(part, padded, tall);
        const outputs = await this.transform.run(planes, { rows: tall, columns: padded });
        const found = outputs["latent"]!;
        const size = shape.rows * shape.columns;
        for (let row = down.start / STRIDE; row < down.stop / STRIDE; row++) {
          for (let column = across.start / STRIDE; column < across.stop / STRIDE; column++) {
            const [y, x] = [row - down.low / STRIDE, column - across.low / STRIDE];
            const to = (row * columns + column) * channels;
            const from = y * shape.columns + x;
            for (let c = 0; c < channels; c++) latent[to + c] = found[c * size + from]!;
          }
        }
      }
    }
    return latent;
  }
}

/** [3, height, width] in 0..1, the last row and column repeated up to full latents. */
function planesOf(picture: Picture, width: number, height: number): Float32Array {
  const planes = new Float32Array(3 * width * height);
  const unit = Math.fround(1 / 255);
  for (let channel = 0, to = 0; channel < 3; channel++) {
    for (let row = 0; row < height; row++) {
      const first = Math.min(row, picture.height - 1) * picture.width;
      for (let column = 0; column < width; column++) {
        const place = first + Math.min(column, picture.width - 1);
        planes[to++] = picture.pixels[3 * place + channel]! * unit;
      }
    }
  }
  return planes;
}

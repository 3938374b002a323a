// Files of the repository that the tests read.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { type Bitstream } from "../src/bitstream.js";
import { EntropyModel } from "../src/entropy_model.js";
import { flatCodes, type Grid, LevelMap } from "../src/level_map.js";

const ROOT = join(import.meta.dirname, "../../..");
export const GOLDEN = join(ROOT, "tests/shared/golden");
export const BUNDLE = join(ROOT, "shared/bundles/tiny");

export function read(...path: string[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(readFileSync(join(...path)));
}

export function document(): string {
  return readFileSync(join(ROOT, "docs/bitstream.md"), "utf8");
}

const models = new Map<string, Promise<EntropyModel>>();

/** The entropy model of a folder, loaded once. */
export function model(folder: string): Promise<EntropyModel> {
  const loaded = models.get(folder) ?? EntropyModel.load(read(folder, "entropy.npz"));
  models.set(folder, loaded);
  return loaded;
}

export function codesOf(stream: Bitstream): Grid<Int32Array> {
  const { qualityCode, width, height, levelMap } = stream;
  return levelMap.length
    ? LevelMap.decode(levelMap, width, height).codes(qualityCode, width, height)
    : flatCodes(qualityCode, width, height);
}

/** SHA-256 of numbers as 16-bit integers, lowest byte first. */
export function digest(...parts: ArrayLike<number>[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(new Uint8Array(Int16Array.from(part).buffer));
  return hash.digest("hex");
}

/** Where tests/edge/test_edge_web.py wrote its cases; "" where it does not run these tests. */
export const FOLDER = process.env["COTAM_CASES"] ?? "";

interface Cases {
  readonly streams: readonly {
    readonly name: string; // of the stream, and of its latent [h, w, C] f32
    readonly bundle: "golden" | "tiny";
    readonly budget: number | null;
  }[];
  readonly pictures: readonly {
    readonly name: string; // of the picture before and after
    readonly longest: number;
    readonly from: readonly [width: number, height: number];
    readonly to: readonly [width: number, height: number];
  }[];
  readonly maps: readonly {
    readonly name: string; // of the picture
    readonly width: number;
    readonly height: number;
    readonly levels: readonly number[] | null; // of the cells; null where no map is sent
  }[];
}

export const CASES: Cases = FOLDER
  ? (JSON.parse(new TextDecoder().decode(read(FOLDER, "cases.json"))) as Cases)
  : { streams: [], pictures: [], maps: [] };

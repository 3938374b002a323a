// Level maps as Python's edge sends them, by the same graphs. The cases are written by
// tests/edge/test_edge_web.py.

import { join } from "node:path";

import { beforeAll, describe, expect, it } from "vitest";

import type { Manifest } from "../src/bundle.js";
import { Encoder } from "../src/encoder.js";
import { BUNDLE, CASES, FOLDER, read } from "./files.js";

const WASM = join(import.meta.dirname, "../node_modules/onnxruntime-web/dist");
const NAME = "ort-wasm-simd-threaded.wasm";
const MOST_CHANGED = 0.01; // share of cells: another onnxruntime rounds otherwise

describe.skipIf(!FOLDER)("level maps of Python", () => {
  let encoder: Encoder;

  beforeAll(async () => {
    const manifest = JSON.parse(new TextDecoder().decode(read(BUNDLE, "manifest.json"))) as Manifest;
    const names = ["encoder.onnx", "guidance.onnx", "entropy.npz", "print.onnx"] as const;
    const files = Object.fromEntries(names.map((name) => [name, read(BUNDLE, name)]));
    const bundle = { id: "", codecId: new Uint8Array(4), manifest, files } as never;
    // Node fetches no files.
    const wasm = `data:application/wasm;base64,${Buffer.from(read(WASM, NAME)).toString("base64")}`;
    encoder = await Encoder.open(bundle, { wasm, threads: 1 });
  });

  it.each(CASES.maps)("$name", async ({ name, width, height, levels }) => {
    const pixels = read(FOLDER, `${name}.rgb`);
    const { levelMap } = await encoder.analyse({ width, height, pixels });
    if (levels === null) {
      expect(levelMap).toBeNull();
      return;
    }
    const values = levelMap!.values;
    expect(values.length).toBe(levels.length);
    const changed = values.filter((value, i) => value !== levels[i]).length;
    expect(changed / levels.length).toBeLessThan(MOST_CHANGED);
  });
});

// ONNX graphs of one input, run by onnxruntime-web.

import * as ort from "onnxruntime-web/wasm";

import type { Shape } from "./level_map.js";

/** Runs a graph that takes planes [1, C, rows, columns]; gives its outputs by name. */
export interface Graph {
  run(planes: Float32Array, { rows, columns }: Shape): Promise<Outputs>;
}

export type Outputs = Readonly<Record<string, Float32Array>>;

/** Where onnxruntime's wasm lies, and how many threads run it. */
export interface Runtime {
  /** Address of `ort-wasm-simd-threaded.wasm`; default: beside this module. */
  readonly wasm?: string | URL;
  /** Default: half the cores, at most 4, where the page is isolated across origins; else 1. */
  readonly threads?: number;
}

/** Load a graph. onnxruntime keeps the runtime that it was first started with. */
export async function openGraph(
  file: Uint8Array,
  input: string,
  { wasm, threads }: Runtime,
): Promise<Graph> {
  if (wasm !== undefined) ort.env.wasm.wasmPaths = { wasm };
  if (threads !== undefined) ort.env.wasm.numThreads = threads;
  const session = await ort.InferenceSession.create(file, { executionProviders: ["wasm"] });
  return {
    async run(planes, { rows, columns }) {
      const channels = planes.length / (rows * columns);
      const tensor = new ort.Tensor("float32", planes, [1, channels, rows, columns]);
      const results = Object.entries(await session.run({ [input]: tensor }));
      return Object.fromEntries(results.map(([name, { data }]) => [name, data as Float32Array]));
    },
  };
}

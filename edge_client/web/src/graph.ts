// ONNX graphs of one picture, run by onnxruntime-web.

import * as ort from "onnxruntime-web/wasm";

/** Runs a graph that takes planes [1, 3, height, width] in 0..1. */
export interface Graph {
  run(planes: Float32Array, width: number, height: number): Promise<Float32Array>;
}

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
  output: string,
  { wasm, threads }: Runtime,
): Promise<Graph> {
  if (wasm !== undefined) ort.env.wasm.wasmPaths = { wasm };
  if (threads !== undefined) ort.env.wasm.numThreads = threads;
  const session = await ort.InferenceSession.create(file, { executionProviders: ["wasm"] });
  return {
    async run(planes, width, height) {
      const tensor = new ort.Tensor("float32", planes, [1, 3, height, width]);
      const results = await session.run({ [input]: tensor });
      return results[output]!.data as Float32Array;
    },
  };
}

// Build dist/: one module with onnxruntime's own script in it, its wasm beside it, and types.

import { execFileSync } from "node:child_process";
import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";

import { build } from "esbuild";

const ROOT = import.meta.dirname;
const DIST = join(ROOT, "dist");
const WASM = "ort-wasm-simd-threaded.wasm";

rmSync(DIST, { recursive: true, force: true });
await build({
  entryPoints: [join(ROOT, "src/index.ts")],
  outfile: join(DIST, "cotam-edge.js"),
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "linked",
  logLevel: "warning",
});
copyFileSync(join(ROOT, "node_modules/onnxruntime-web/dist", WASM), join(DIST, WASM));
const types = ["--noEmit", "false", "--declaration", "--emitDeclarationOnly", "--outDir", DIST];
execFileSync(
  join(ROOT, "node_modules/.bin/tsc"),
  ["--project", join(ROOT, "tsconfig.build.json"), ...types],
  { stdio: "inherit" },
);

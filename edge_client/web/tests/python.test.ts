// The same bytes as Python's: of its latents, and of pictures that it scaled. The cases are written
// by tests/edge/test_edge_web.py.

import { describe, expect, it } from "vitest";

import { readBitstream } from "../src/bitstream.js";
import { Analysed } from "../src/encoder.js";
import { LevelMap } from "../src/level_map.js";
import { fit } from "../src/pictures/scaling.js";
import { BUNDLE, CASES, FOLDER, GOLDEN, model, read } from "./files.js";

describe.skipIf(!FOLDER)("latents of Python", () => {
  it.each(CASES.streams)("$name is coded to the same bytes", async (one) => {
    const entropy = await model(one.bundle === "golden" ? GOLDEN : BUNDLE);
    const bytes = read(FOLDER, `${one.name}.cotam`);
    const { codecId, width, height, levelMap, qualityCode, extras } = readBitstream(bytes);
    const latent = new Float32Array(read(FOLDER, `${one.name}.f32`).buffer);
    const map = levelMap.length ? LevelMap.decode(levelMap, width, height) : null;
    const analysed = new Analysed(width, height, latent, map, entropy, codecId);
    const again =
      one.budget === null ? analysed.code(qualityCode / 20) : analysed.codeWithin(one.budget);
    if (!extras.length) expect(again).toEqual(bytes);
    expect(readBitstream(again)).toEqual({ ...readBitstream(bytes), extras: [] });
  });

  it("do not fit into a few bytes", async () => {
    const { name } = CASES.streams.at(-1)!;
    const { codecId, width, height } = readBitstream(read(FOLDER, `${name}.cotam`));
    const latent = new Float32Array(read(FOLDER, `${name}.f32`).buffer);
    const analysed = new Analysed(width, height, latent, null, await model(BUNDLE), codecId);
    const coding = (): unknown => analysed.codeWithin(30);
    expect(coding).toThrow(/does not fit into 30 bytes: the smallest possible stream has \d+/);
  });
});

describe.skipIf(!FOLDER)("pictures of Python", () => {
  it.each(CASES.pictures)("$name has the same pixels", ({ name, longest, from, to }) => {
    const [width, height] = from;
    const fitted = fit({ width, height, pixels: read(FOLDER, `${name}.from`) }, longest);
    expect([fitted.width, fitted.height]).toEqual(to);
    expect(Buffer.compare(fitted.pixels, read(FOLDER, `${name}.to`))).toBe(0);
  });
});

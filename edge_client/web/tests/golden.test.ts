// Streams that were written once by Python are read, and written again to the same bytes.

import { beforeAll, describe, expect, it } from "vitest";

import { readBitstream, writeBitstream } from "../src/bitstream.js";
import type { EntropyModel } from "../src/entropy_model.js";
import { LevelMap } from "../src/level_map.js";
import { codesOf, digest, GOLDEN, model, read } from "./files.js";

const HASHES = JSON.parse(new TextDecoder().decode(read(GOLDEN, "hashes.json"))) as Record<
  string,
  string
>;

describe("golden streams", () => {
  let golden: EntropyModel;
  beforeAll(async () => {
    golden = await model(GOLDEN);
  });

  it("are twenty", () => expect(Object.keys(HASHES)).toHaveLength(20));

  it.each(Object.entries(HASHES))("%s is read and written again", (name, hash) => {
    const bytes = read(GOLDEN, name);
    const stream = readBitstream(bytes);
    expect(writeBitstream(stream)).toEqual(bytes);
    if (stream.levelMap.length) {
      const map = LevelMap.decode(stream.levelMap, stream.width, stream.height);
      expect(map.encode()).toEqual(stream.levelMap);
    }
    const codes = codesOf(stream);
    const symbols = golden.read(stream.latents, stream.check, codes, stream.qualityCode);
    expect(digest(codes.values, symbols.hyper.values, symbols.values, symbols.means)).toBe(hash);

    const channels = golden.channels;
    const again = golden.write(symbols.hyper, codes, stream.qualityCode, (here) => {
      const { places, channel, width } = here;
      return Int32Array.from({ length: places.length * width }, (_, i) => {
        const place = places[Math.floor(i / width)]!;
        return symbols.values[place * channels + channel + (i % width)]!;
      });
    });
    expect(again.check).toBe(stream.check);
    expect(again.payload).toEqual(stream.latents);
  });

  it("are refused where symbols were changed", () => {
    const stream = readBitstream(read(GOLDEN, "05-64x64.cotam"));
    const latents = stream.latents.slice();
    latents[latents.length >> 1]! ^= 1;
    const reading = (): unknown =>
      golden.read(latents, stream.check, codesOf(stream), stream.qualityCode);
    expect(reading).toThrow(expect.objectContaining({ code: "decoder_mismatch" }));
  });
});

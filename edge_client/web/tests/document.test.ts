// docs/bitstream.md: its example and its tables are those of this code.

import { describe, expect, it } from "vitest";

import { readBitstream, writeBitstream } from "../src/bitstream.js";
import { CHANCES } from "../src/coding/level_tables.js";
import { cellShape, LevelMap } from "../src/level_map.js";
import { document } from "./files.js";

const TEXT = document();

function after(mark: string): string[] {
  return TEXT.split(mark)[1]!.split("\n\n")[0]!.split("\n").slice(1);
}

function example(): Uint8Array {
  const lines = after("<!-- stream -->").filter((line) => !line.startsWith("```"));
  const digits = lines.map((line) => line.split(/\s{2,}/)[0]).join(" ");
  return Uint8Array.from(digits.split(" "), (byte) => Number.parseInt(byte, 16));
}

describe("docs/bitstream.md", () => {
  it("has an example that is read and written", () => {
    const stream = readBitstream(example());
    expect(stream).toMatchObject({ width: 96, height: 80, qualityCode: 60, check: 0x1234 });
    expect(stream.extras).toEqual([[200, Uint8Array.of(0x68, 0x69)]]);
    expect(writeBitstream(stream)).toEqual(example());
    const map = LevelMap.decode(stream.levelMap, 96, 80);
    expect([map.cell, map.levels, map.step]).toEqual([32, 2, 30]);
    expect(Array.from(map.values)).toEqual([0, 1, 1, 1, 0, 1, 0, 0, 1]);
  });

  it.each([2, 3, 5])("has the tables of %i levels", (levels) => {
    const rows = after(`<!-- tables: ${levels} levels -->`).slice(2);
    const told = rows.map((row) => row.split("|").slice(1, -1).map((cell) => cell.trim()));
    const tables = Object.entries(CHANCES[levels]!);
    expect(told).toEqual(tables.map(([context, chances]) => [context, ...chances.map(String)]));
  });

  it.each([
    ["stream_truncated", (bytes: number[]) => bytes.splice(0)],
    ["stream_foreign", (bytes: number[]) => bytes.reverse()],
    ["stream_version", (bytes: number[]) => (bytes[2] = 4)],
    ["stream_truncated", (bytes: number[]) => bytes.splice(9)],
    ["stream_corrupt", (bytes: number[]) => (bytes[20]! ^= 1)],
    ["stream_corrupt", (bytes: number[]) => bytes.pop()],
  ])("names the error %s", (code, damage) => {
    const bytes = Array.from(example());
    damage(bytes);
    const reading = (): unknown => readBitstream(Uint8Array.from(bytes));
    expect(reading).toThrow(expect.objectContaining({ code }));
  });
});

describe("level maps", () => {
  const sizes = [
    [1, 1, 16],
    [600, 170, 16],
    [64, 400, 32],
    [500, 90, 64],
  ] as const;
  for (const levels of [2, 3, 5]) {
    it.each(sizes)(`of %i x %i, cells of %i, ${levels} levels, are read back`, (...size) => {
      const [width, height, cell] = size;
      const { rows, columns } = cellShape(width, height, cell);
      const values = Uint8Array.from({ length: rows * columns }, (_, i) => (i * i * 7) % levels);
      const map = new LevelMap(values, rows, columns, cell, levels, 35);
      expect(LevelMap.decode(map.encode(), width, height)).toEqual(map);
    });
  }

  it("are refused where there are no such cells", () => {
    const reading = (): unknown => LevelMap.decode(Uint8Array.of(1, 2, 3, 4, 5, 6, 7), 16, 16);
    expect(reading).toThrow(expect.objectContaining({ code: "stream_malformed" }));
  });
});

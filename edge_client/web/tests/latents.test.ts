// The same bytes as Python's from the same latents: cases that tests/edge/test_edge_web.py wrote.

import { describe, expect, it } from "vitest";

import { readBitstream, writeBitstream } from "../src/bitstream.js";
import { BUNDLE, codesOf, GOLDEN, model, read } from "./files.js";

const FOLDER = process.env["COTAM_LATENTS"] ?? "";

interface Case {
  readonly name: string; // of the stream, and of its latent [h, w, C] f32
  readonly bundle: "golden" | "tiny";
}

function cases(): Case[] {
  return FOLDER
    ? (JSON.parse(new TextDecoder().decode(read(FOLDER, "cases.json"))) as Case[])
    : [];
}

describe.skipIf(!FOLDER)("latents of Python", () => {
  it.each(cases())("$name is coded to the same bytes", async ({ name, bundle }) => {
    const entropy = await model(bundle === "golden" ? GOLDEN : BUNDLE);
    const bytes = read(FOLDER, `${name}.cotam`);
    const stream = readBitstream(bytes);
    const latent = new Float32Array(read(FOLDER, `${name}.f32`).buffer);
    const { payload, check } = entropy.encode(latent, codesOf(stream), stream.qualityCode);
    expect(writeBitstream({ ...stream, check, latents: payload })).toEqual(bytes);
  });
});

// The edge part of a bundle, fetched from a server and checked against its hashes: shared/bundle.py
// and edge_client/server/bundles.py.

import { CotamError } from "./errors.js";
import type { Connection } from "./connection.js";

const FORMAT = 4;
const ID_BYTES = 4;
const CODEC_FILES = ["decoder.safetensors", "entropy.npz"] as const;
const EDGE_FILES = ["guidance.onnx", "encoder.onnx", "entropy.npz"] as const;
const PRINT = "print.onnx"; // where the bundle has one

type Files = Record<(typeof EDGE_FILES)[number], Uint8Array<ArrayBuffer>> & {
  [PRINT]?: Uint8Array<ArrayBuffer>;
};

/** What the edge reads of manifest.json. */
export interface Manifest {
  readonly format: number;
  readonly name: string;
  readonly resolution: number; // pixels of the long side
  readonly quality: number;
  readonly codec: { readonly latent_channels: number };
  readonly guidance: {
    readonly side: number;
    readonly patch: number;
    readonly k: number;
    readonly cell: number;
    readonly levels: number;
    readonly step: number;
  };
  readonly tower: { readonly fill: readonly [number, number, number] };
  readonly files: Readonly<Record<string, { sha256: string; bytes: number }>>;
}

/** A manifest and the files that code. */
export interface Bundle {
  readonly id: string; // 8 hexadecimal digits
  readonly codecId: Uint8Array; // what streams name
  readonly manifest: Manifest;
  readonly files: Readonly<Files>;
}

/**
 * Fetch the edge part of a bundle. Browsers keep it: a server lets it be kept for ever.
 *
 * Throws `bundle_corrupt` where a hash does not match, `usage` where the page may not hash.
 */
export async function fetchBundle(connection: Connection, id: string): Promise<Bundle> {
  const url = `v1/bundles/${id}`;
  const raw = await connection.bytes(url);
  if (!(await sha256(raw)).startsWith(id) || id.length !== 2 * ID_BYTES) {
    throw corrupt(`the server sent a manifest that is not that of the bundle ${id}`);
  }
  const manifest = JSON.parse(new TextDecoder().decode(raw)) as Manifest;
  if (manifest.format !== FORMAT) {
    throw corrupt(`the bundle ${id} has format ${manifest.format}, this edge knows ${FORMAT}`);
  }
  const names = [...EDGE_FILES, ...(PRINT in manifest.files ? [PRINT] : [])];
  const fetched = names.map(async (name) => {
    const file = await connection.bytes(`${url}/files/${name}`);
    if ((await sha256(file)) !== manifest.files[name]?.sha256) {
      throw corrupt(`${name} came over the wire with another hash than the manifest's`);
    }
    return [name, file] as const;
  });
  const files = Object.fromEntries(await Promise.all(fetched)) as Files;
  return { id, codecId: await codecIdOf(manifest), manifest, files };
}

async function codecIdOf(manifest: Manifest): Promise<Uint8Array> {
  const lines = CODEC_FILES.filter((name) => name in manifest.files).map(
    (name) => `${name} ${manifest.files[name]!.sha256}\n`,
  );
  const digits = await sha256(new TextEncoder().encode(lines.join("")));
  return Uint8Array.from({ length: ID_BYTES }, (_, i) =>
    Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16),
  );
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  if (!globalThis.crypto?.subtle) {
    throw new CotamError(
      "usage",
      "this page is not secure, so the browser does not hash: a bundle cannot be checked",
      "open it by https or on localhost",
    );
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function corrupt(message: string): CotamError {
  return new CotamError("bundle_corrupt", message, "fetch it again");
}

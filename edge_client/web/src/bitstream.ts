// The container: bytes and nothing else. docs/bitstream.md, section 1; shared/bitstream.py.

import { crc32 } from "./coding/crc32.js";
import { CotamError } from "./errors.js";

export const MEDIA_TYPE = "application/vnd.cotam";
export const MAX_QUALITY_CODE = 180;
const MAGIC = [0xc7, 0x54] as const;
const VERSION = 5;
const CODEC_ID_BYTES = 4;
const MAX_SIDE = 65_535;
const CHUNK_LEVEL_MAP = 1;
const CHUNK_LATENTS = 2;
const FIRST_OPTIONAL_CHUNK = 128;
const CRC_BYTES = 4;
const FIXED_BYTES = MAGIC.length + 1 + CODEC_ID_BYTES;

/** What a reader accepts: picture area in pixels, stream and chunk sizes in bytes. */
export interface Limits {
  readonly pixels: number;
  readonly streamBytes: number;
  readonly chunkBytes: number;
}

export const LIMITS: Limits = { pixels: 64_000_000, streamBytes: 64 << 20, chunkBytes: 32 << 20 };

/**
 * One coded picture.
 *
 * codecId: 4 bytes. width, height: pixels. qualityCode: 0..180. check: 0..65535. levelMap: payload
 * of that chunk, empty where every cell has the same quality. latents: ANS payload of hyper latent
 * and latent. extras: optional chunks, types 128..255 in rising order.
 */
export interface Bitstream {
  readonly codecId: Uint8Array;
  readonly width: number;
  readonly height: number;
  readonly qualityCode: number;
  readonly check: number;
  readonly levelMap: Uint8Array;
  readonly latents: Uint8Array;
  readonly extras: readonly (readonly [type: number, payload: Uint8Array])[];
}

/** The bytes of a stream. Throws `stream_malformed` for a field outside its range. */
export function writeBitstream(stream: Bitstream): Uint8Array<ArrayBuffer> {
  if (stream.codecId.length !== CODEC_ID_BYTES) {
    throw malformed(`a codec id has ${CODEC_ID_BYTES} bytes`);
  }
  checkRange("width", stream.width, 1, MAX_SIDE);
  checkRange("height", stream.height, 1, MAX_SIDE);
  checkRange("quality", stream.qualityCode, 0, MAX_QUALITY_CODE);
  checkRange("check", stream.check, 0, 0xffff);
  let last = FIRST_OPTIONAL_CHUNK - 1;
  for (const [type] of stream.extras) {
    if (type <= last || type > 255) {
      throw malformed("extra chunks need types 128..255 in rising order, each once");
    }
    last = type;
  }
  const out: number[] = [...MAGIC, VERSION, ...stream.codecId];
  pushVarint(out, stream.width);
  pushVarint(out, stream.height);
  out.push(stream.qualityCode, stream.check & 0xff, stream.check >> 8);
  const parts: Uint8Array[] = [];
  const chunk = (type: number, payload: Uint8Array): void => {
    out.push(type);
    pushVarint(out, payload.length);
    parts.push(Uint8Array.from(out.splice(0)), payload);
  };
  if (stream.levelMap.length) chunk(CHUNK_LEVEL_MAP, stream.levelMap);
  chunk(CHUNK_LATENTS, stream.latents);
  for (const [type, payload] of stream.extras) chunk(type, payload);
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = new Uint8Array(size + CRC_BYTES);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  new DataView(bytes.buffer).setUint32(size, crc32(bytes.subarray(0, size)), true);
  return bytes;
}

/** Parse a stream. Throws the error of docs/bitstream.md that fits. */
export function readBitstream(bytes: Uint8Array, limits: Limits = LIMITS): Bitstream {
  const reader = new Reader(bytes, limits);
  const width = reader.side("width");
  const height = reader.side("height");
  if (width * height > limits.pixels) {
    throw tooLarge(
      `the stream holds a picture of ${width}x${height}, over the limit of ${limits.pixels} pixels`,
    );
  }
  const qualityCode = reader.byte("quality");
  checkRange("quality", qualityCode, 0, MAX_QUALITY_CODE);
  const check = reader.byte("check") | (reader.byte("check") << 8);
  let levelMap = new Uint8Array();
  let latents: Uint8Array | null = null;
  const extras: [number, Uint8Array][] = [];
  for (const [type, payload] of reader.chunks()) {
    if (type === CHUNK_LEVEL_MAP) {
      if (!payload.length) throw malformed("the level map is empty: a flat one is left out");
      levelMap = payload.slice();
    } else if (type === CHUNK_LATENTS) {
      latents = payload;
    } else if (type >= FIRST_OPTIONAL_CHUNK) {
      extras.push([type, payload]);
    } else {
      throw new CotamError(
        "stream_unknown_chunk",
        `the stream needs chunk type ${type}, which this version does not know`,
        "update the reader",
      );
    }
  }
  if (latents === null) throw malformed("the stream has no latents");
  return { codecId: reader.codecId, width, height, qualityCode, check, levelMap, latents, extras };
}

/** A bounded cursor over the body of a stream whose frame (magic, version, CRC) is sound. */
class Reader {
  readonly codecId: Uint8Array;
  private readonly end: number;
  private at = FIXED_BYTES;

  constructor(
    private readonly bytes: Uint8Array,
    private readonly limits: Limits,
  ) {
    if (!bytes.length) throw truncated("the stream is empty");
    if (MAGIC.some((byte, i) => i < bytes.length && bytes[i] !== byte)) {
      throw new CotamError("stream_foreign", "these bytes are not a CoTAM stream");
    }
    if (bytes.length > limits.streamBytes) {
      throw tooLarge(
        `the stream has ${bytes.length} bytes, over the limit of ${limits.streamBytes}`,
      );
    }
    const version = bytes[MAGIC.length];
    if (version !== undefined && version !== VERSION) {
      throw new CotamError(
        "stream_version",
        `the stream has version ${version}, this reader knows ${VERSION}`,
        version > VERSION ? "update the reader" : "encode the picture again",
      );
    }
    if (bytes.length < FIXED_BYTES + CRC_BYTES) {
      throw truncated(`the stream ends after ${bytes.length} bytes, inside its header`);
    }
    this.end = bytes.length - CRC_BYTES;
    const crc = new DataView(bytes.buffer, bytes.byteOffset).getUint32(this.end, true);
    if (crc32(bytes.subarray(0, this.end)) !== crc) {
      throw new CotamError(
        "stream_corrupt",
        "the stream was cut or changed on its way: its CRC does not match",
        "send it again",
      );
    }
    this.codecId = bytes.slice(MAGIC.length + 1, FIXED_BYTES);
  }

  byte(what: string): number {
    return this.take(1, what)[0]!;
  }

  side(what: string): number {
    const value = this.varint(what, 3);
    checkRange(what, value, 1, MAX_SIDE);
    return value;
  }

  chunks(): [number, Uint8Array][] {
    const chunks: [number, Uint8Array][] = [];
    let last = -1;
    while (this.at < this.end) {
      const type = this.byte("chunk type");
      if (type <= last) throw malformed(`chunk type ${type} is out of order`);
      const length = this.varint("chunk length", 5);
      if (length > this.limits.chunkBytes) {
        throw tooLarge(
          `chunk type ${type} has ${length} bytes, over the limit of ${this.limits.chunkBytes}`,
        );
      }
      chunks.push([type, this.take(length, `chunk of type ${type}`)]);
      last = type;
    }
    return chunks;
  }

  private take(count: number, what: string): Uint8Array {
    if (count > this.end - this.at) throw truncated(`the stream ends inside its ${what}`);
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }

  private varint(what: string, most: number): number {
    let value = 0;
    for (let i = 0; i < most; i++) {
      const byte = this.byte(what);
      // Not by shifts: five bytes of seven bits are more than they hold.
      value += (byte & 0x7f) * 2 ** (7 * i);
      if (byte < 0x80) {
        if (byte === 0 && i > 0) throw malformed(`the ${what} is padded`);
        return value;
      }
    }
    throw malformed(`the ${what} is longer than ${most} bytes`);
  }
}

function pushVarint(out: number[], value: number): void {
  while (value >= 0x80) {
    out.push((value & 0x7f) | 0x80);
    value >>>= 7;
  }
  out.push(value);
}

function checkRange(what: string, value: number, low: number, high: number): void {
  if (!Number.isInteger(value) || value < low || value > high) {
    throw malformed(`the ${what} is ${value}, outside ${low}..${high}`);
  }
}

function malformed(message: string): CotamError {
  return new CotamError("stream_malformed", message);
}

function truncated(message: string): CotamError {
  return new CotamError("stream_truncated", message);
}

function tooLarge(message: string): CotamError {
  return new CotamError("stream_too_large", message, "send a smaller picture");
}

// Arrays of a .npz file: a ZIP archive of .npy files, by numpy's own description of both.

import { CotamError } from "./errors.js";

export type Values = Int8Array | Uint8Array | Int32Array | Float32Array;

/** An array, row by row. */
export interface NumpyArray {
  readonly shape: readonly number[];
  readonly values: Values;
}

const MOST_BYTES = 256 << 20; // of one array
const END_OF_DIRECTORY = 0x06054b50;
const IN_DIRECTORY = 0x02014b50;
const STORED = 0;
const DEFLATED = 8;

/** The arrays by name. Throws `bundle_corrupt` for what is no archive of arrays. */
export async function readNpz(file: Uint8Array<ArrayBuffer>): Promise<Map<string, NumpyArray>> {
  const arrays = new Map<string, NumpyArray>();
  try {
    for (const [name, bytes] of await unzip(file)) {
      arrays.set(name.replace(/\.npy$/, ""), parseNpy(bytes));
    }
  } catch (error) {
    throw new CotamError(
      "bundle_corrupt",
      `the file is no archive of arrays: ${(error as Error).message}`,
      "fetch the bundle again",
    );
  }
  return arrays;
}

async function unzip(file: Uint8Array<ArrayBuffer>): Promise<[string, Uint8Array<ArrayBuffer>][]> {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  let end = file.length - 22;
  while (view.getUint32(end, true) !== END_OF_DIRECTORY) end--;
  const count = view.getUint16(end + 10, true);
  let at = view.getUint32(end + 16, true);
  const files: [string, Uint8Array<ArrayBuffer>][] = [];
  for (let i = 0; i < count; i++) {
    if (view.getUint32(at, true) !== IN_DIRECTORY) throw new RangeError("a directory is broken");
    const method = view.getUint16(at + 10, true);
    const packed = view.getUint32(at + 20, true);
    const size = view.getUint32(at + 24, true);
    const nameLength = view.getUint16(at + 28, true);
    const local = view.getUint32(at + 42, true);
    const name = new TextDecoder().decode(file.subarray(at + 46, at + 46 + nameLength));
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const body = file.subarray(start, start + packed);
    if (size > MOST_BYTES) throw new RangeError(`${name} has ${size} bytes`);
    files.push([name, await unpacked(body, method, size)]);
    at += 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  return files;
}

async function unpacked(
  body: Uint8Array<ArrayBuffer>,
  method: number,
  size: number,
): Promise<Uint8Array<ArrayBuffer>> {
  if (method === STORED) return body;
  if (method !== DEFLATED) throw new RangeError(`method ${method} of compression`);
  const reader = new Blob([body])
    .stream()
    .pipeThrough(new DecompressionStream("deflate-raw"))
    .getReader();
  const bytes = new Uint8Array(size);
  let at = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    bytes.set(value, at); // throws where there is more than was said
    at += value.length;
  }
  if (at !== size) throw new RangeError("a file is shorter than it says");
  return bytes;
}

function parseNpy(bytes: Uint8Array<ArrayBuffer>): NumpyArray {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0) !== 0x934e554d) throw new RangeError("an array has another head");
  const isFirst = bytes[6] === 1;
  const start = isFirst ? 10 : 12;
  const length = isFirst ? view.getUint16(8, true) : view.getUint32(8, true);
  const head = new TextDecoder("latin1").decode(bytes.subarray(start, start + length));
  const type = /'descr': '([^']+)'/.exec(head)?.[1] ?? "";
  const shape = /'shape': \(([^)]*)\)/.exec(head)?.[1] ?? "";
  const sides = shape.split(",").filter((side) => side.trim()).map(Number);
  let values = valuesOf(type, bytes.slice(start + length).buffer);
  if (head.includes("'fortran_order': True")) values = inRows(values, sides);
  if (values.length !== sides.reduce((product, side) => product * side, 1)) {
    throw new RangeError("an array has another size than it says");
  }
  return { shape: sides, values };
}

/** A matrix that lies column by column, row by row. */
function inRows(values: Values, sides: readonly number[]): Values {
  if (sides.length > 2) throw new RangeError("an array of more than two sides lies in columns");
  if (sides.length < 2) return values;
  const [rows, columns] = sides as [number, number];
  const turned = values.slice();
  for (let i = 0; i < values.length; i++) {
    turned[(i % rows) * columns + Math.floor(i / rows)] = values[i]!;
  }
  return turned;
}

function valuesOf(type: string, raw: ArrayBuffer): Values {
  switch (type) {
    case "|i1":
      return new Int8Array(raw);
    case "|u1":
      return new Uint8Array(raw);
    case "<i4":
      return new Int32Array(raw);
    case "<f4":
      return new Float32Array(raw);
    case "<i8":
      return Int32Array.from(new BigInt64Array(raw), narrow);
    default:
      throw new RangeError(`an array of type ${type}`);
  }
}

function narrow(value: bigint): number {
  if (BigInt.asIntN(32, value) !== value) throw new RangeError("an integer of over 32 bits");
  return Number(value);
}

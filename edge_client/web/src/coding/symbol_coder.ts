// Symbols under 64 integer tables, one for each scale index. docs/bitstream.md, section 4.1;
// shared/coding/symbol_coder.py.

import { type Coder, Table } from "./ans.js";
import { SCALES } from "./integer_network.js";

/** Squared error, in squared quantiser steps, that a bit must save to be written. */
export const BIT_PRICE = 0.015;
const LEAST_BITS = 1e-4;
const TABLE_TOTAL = 2 ** 24;
const ESCAPE = new Table(new Uint8Array(65536).fill(1));

/** Codes integers under the tables of their scale indices; those of index 0 are 0. */
export class SymbolCoder {
  /** How many bits a 1 costs more than a 0, by scale, above 0. */
  readonly bitsOfOne: Float32Array;
  private readonly tables: Table[] = [];
  private readonly reaches: number[] = [];

  /** counts: of all tables, one after another; ends: where each ends. Throws RangeError. */
  constructor(counts: ArrayLike<number>, ends: ArrayLike<number>) {
    if (ends.length !== SCALES || ends[SCALES - 1] !== counts.length) {
      throw new RangeError(`there are not ${SCALES} tables`);
    }
    this.bitsOfOne = new Float32Array(SCALES);
    for (let scale = 0, start = 0; scale < SCALES; start = ends[scale++]!) {
      const own = Array.prototype.slice.call(counts, start, ends[scale]) as number[];
      if (own.length < 4 || own.reduce((sum, count) => sum + count, 0) !== TABLE_TOTAL) {
        throw new RangeError(`a table does not sum to ${TABLE_TOTAL}`);
      }
      const middle = (own.length - 2) >> 1;
      this.tables.push(new Table(own));
      this.reaches.push(middle);
      this.bitsOfOne[scale] = Math.max(Math.log2(own[middle]! / own[middle + 1]!), LEAST_BITS);
    }
  }

  /** Code symbols so that `pop` with the same indices reads them. */
  push(coder: Coder, symbols: Int32Array, indices: Uint8Array): void {
    const order = inOrder(indices);
    for (let n = order.length - 1; n >= 0; n--) {
      const place = order[n]!;
      const symbol = symbols[place]!;
      const excess = Math.abs(symbol) - this.reaches[indices[place]!]! - 1;
      if (excess >= 0) coder.push(2 * excess + (symbol < 0 ? 1 : 0), ESCAPE);
    }
    for (let n = order.length - 1; n >= 0; n--) {
      const place = order[n]!;
      const scale = indices[place]!;
      const reach = this.reaches[scale]!;
      const symbol = symbols[place]!;
      const coded = Math.abs(symbol) > reach ? 2 * reach + 1 : symbol + reach;
      coder.push(coded, this.tables[scale]!);
    }
  }

  /** The next symbols; 0 where the index is 0. */
  pop(coder: Coder, indices: Uint8Array): Int32Array {
    const symbols = new Int32Array(indices.length);
    const escaped: number[] = [];
    for (const place of inOrder(indices)) {
      const scale = indices[place]!;
      const reach = this.reaches[scale]!;
      symbols[place] = coder.pop(this.tables[scale]!) - reach;
      if (symbols[place]! > reach) escaped.push(place);
    }
    for (const place of escaped) {
      const folded = coder.pop(ESCAPE);
      const size = (folded >> 1) + this.reaches[indices[place]!]! + 1;
      symbols[place] = folded & 1 ? -size : size;
    }
    return symbols;
  }
}

/** Places in order of their scale index, without those of index 0. */
function inOrder(indices: Uint8Array): Int32Array {
  const starts = new Int32Array(257);
  for (const index of indices) starts[index + 1]!++;
  const coded = indices.length - starts[1]!;
  starts[1] = 0;
  for (let index = 2; index < starts.length; index++) starts[index]! += starts[index - 1]!;
  const order = new Int32Array(coded);
  for (let place = 0; place < indices.length; place++) {
    if (indices[place]) order[starts[indices[place]!]!++] = place;
  }
  return order;
}

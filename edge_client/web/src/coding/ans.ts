// The entropy coder: ANS with tables of counts. docs/bitstream.md, section 2.1; shared/coding/ans.py.
//
// The state has 64 bits and is held in two halves, each a number of 0..2^32 - 1. Products of parts
// of it stay below 2^53, where a number is an exact integer.

const PARTS = 2 ** 24;
const WORD = 2 ** 32;

/** How often each of n symbols is expected: bounds[k]..bounds[k + 1] of 2^24 parts. */
export class Table {
  readonly bounds: Int32Array;

  /** counts: n >= 2, all positive; their sum is a power of two up to 2^24. */
  constructor(counts: ArrayLike<number>) {
    const n = counts.length;
    let total = 0;
    for (let k = 0; k < n; k++) {
      if (counts[k]! < 1) throw new RangeError("a count is not positive");
      total += counts[k]!;
    }
    if (n < 2 || total > PARTS || !Number.isInteger(Math.log2(total))) {
      throw new RangeError(`counts sum to ${total}, not to a power of two up to 2^24`);
    }
    this.bounds = new Int32Array(n + 1);
    let before = 0;
    for (let k = 0; k <= n; k++) {
      this.bounds[k] = Math.floor((before * (PARTS - n)) / total) + k;
      before += counts[k] ?? 0;
    }
  }

  /** The symbol whose parts hold `part`. */
  find(part: number): number {
    const bounds = this.bounds;
    let low = 0;
    let high = bounds.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (bounds[middle]! <= part) low = middle;
      else high = middle;
    }
    return low;
  }
}

/** A stack: what was pushed last is popped first. */
export class Coder {
  private high = 0;
  private low = 0;
  private readonly words: number[];

  /** A coder that holds what `payload` holds. Throws RangeError where that is no payload. */
  constructor(payload: Uint8Array = new Uint8Array()) {
    if (payload.length && payload[payload.length - 1] === 0) {
      throw new RangeError("a stream never ends in a zero byte");
    }
    this.words = Array.from({ length: Math.ceil(payload.length / 4) }, () => 0);
    payload.forEach((byte, i) => (this.words[i >> 2]! += byte * 2 ** (8 * (i & 3))));
    while (this.words.length && !this.high) this.refill();
  }

  /** Code a symbol under a table. */
  push(symbol: number, table: Table): void {
    const first = table.bounds[symbol]!;
    const parts = table.bounds[symbol + 1]! - first;
    if (this.high >= parts * 256) {
      this.words.push(this.low);
      this.low = this.high;
      this.high = 0;
    }
    // Long division of the state by `parts`, in digits of 16 bits where a word would be too much.
    const q1 = Math.floor(this.high / parts);
    const upper = (this.high - q1 * parts) * 65536 + Math.floor(this.low / 65536);
    const q2 = Math.floor(upper / parts);
    const lower = (upper - q2 * parts) * 65536 + (this.low % 65536);
    const q3 = Math.floor(lower / parts);
    const quotient = q1 * WORD + q2 * 65536 + q3; // below 2^40
    this.low = (quotient % 256) * PARTS + first + (lower - q3 * parts);
    this.high = Math.floor(quotient / 256);
  }

  /** The next symbol under a table; a payload that has no more of them yields any. */
  pop(table: Table): number {
    const part = this.low % PARTS;
    const symbol = table.find(part);
    const first = table.bounds[symbol]!;
    const parts = table.bounds[symbol + 1]! - first;
    const quotient = this.high * 256 + Math.floor(this.low / PARTS); // below 2^40
    const upper = Math.floor(quotient / 2 ** 20) * parts;
    const lower = (quotient % 2 ** 20) * parts + (part - first) + (upper % 4096) * 2 ** 20;
    this.low = lower % WORD;
    this.high = Math.floor(upper / 4096) + Math.floor(lower / WORD);
    if (!this.high && this.words.length) this.refill();
    return symbol;
  }

  /** Whether nothing is left, as after popping all that was pushed. */
  get isEmpty(): boolean {
    return this.high === 0 && this.low === 0;
  }

  /** What was pushed, as bytes. */
  payload(): Uint8Array {
    const words = Uint32Array.from([...this.words, this.low, this.high]);
    const bytes = new Uint8Array(4 * words.length);
    const view = new DataView(bytes.buffer);
    words.forEach((word, i) => view.setUint32(4 * i, word, true));
    let end = bytes.length;
    while (end && bytes[end - 1] === 0) end--;
    return bytes.subarray(0, end);
  }

  private refill(): void {
    this.high = this.low;
    this.low = this.words.pop()!;
  }
}

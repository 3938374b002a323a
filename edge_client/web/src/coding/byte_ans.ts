// ANS of decisions between two. docs/bitstream.md, section 2.2; shared/coding/byte_ans.py.

const PARTS = 256;

/** Of n symbols n - 1 chances, 1..255: how many times in 256 a symbol of k or more is above k. */
export type Chances = readonly number[];

/** A stack: what was pushed last is popped first. */
export class ByteCoder {
  private readonly words: number[];
  private state = 0;

  /** A coder that holds what `payload` holds. Throws RangeError where that is no payload. */
  constructor(payload: Uint8Array = new Uint8Array()) {
    if (payload.length && payload[payload.length - 1] === 0) {
      throw new RangeError("a stream never ends in a zero byte");
    }
    this.words = Array.from(payload);
    this.refill();
  }

  /** Code a symbol under its chances. */
  push(symbol: number, chances: Chances): void {
    if (symbol < chances.length) {
      const share = PARTS - chances[symbol]!;
      this.makeRoom(share);
      this.state = Math.floor((this.state * PARTS) / share);
    }
    for (let k = symbol - 1; k >= 0; k--) {
      const share = chances[k]!;
      this.makeRoom(share);
      this.state = Math.floor((this.state * PARTS + PARTS - 1) / share);
    }
  }

  /** The next symbol under its chances; a payload that has no more of them yields any. */
  pop(chances: Chances): number {
    let symbol = 0;
    for (const chance of chances) {
      const product = this.state * chance;
      const whole = product >> 8;
      const isAbove = product % PARTS >= PARTS - chance;
      this.state = isAbove ? whole : this.state - whole;
      this.refill();
      if (!isAbove) break;
      symbol++;
    }
    return symbol;
  }

  /** Whether nothing is left, as after popping all that was pushed. */
  get isEmpty(): boolean {
    return this.state === 0 && !this.words.length;
  }

  /** What was pushed, as bytes; zero bytes at the end are left out, a reader needs none. */
  payload(): Uint8Array {
    const bytes = [...this.words, this.state & 0xff, this.state >> 8];
    while (bytes.length && bytes[bytes.length - 1] === 0) bytes.pop();
    return Uint8Array.from(bytes);
  }

  /** Before a push of what has `share` of the states: keep the state within its 16 bits. */
  private makeRoom(share: number): void {
    if (this.state >= share << 8) {
      this.words.push(this.state & 0xff);
      this.state >>= 8;
    }
  }

  private refill(): void {
    while (this.state < PARTS && this.words.length) {
      this.state = (this.state << 8) | this.words.pop()!;
    }
  }
}

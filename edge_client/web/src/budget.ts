// The search for a stream that fills a budget of bytes: edge_client/coding/budget.py.
//
// A pass codes latents at a quality code and a price of bits. The code is the coarse handle, whose
// sizes are roughly known before anything is coded; the price is the fine one.

import { MAX_QUALITY_CODE } from "./bitstream.js";
import { BIT_PRICE } from "./coding/symbol_coder.js";
import type { Encoded } from "./entropy_model.js";
import { interpolate } from "./numbers.js";

/** Share of a budget that may stay empty. */
const SLACK = 0.05;
const MOST_PASSES = 6;
/** From there on a lower quality code is better for sure. */
const DEAREST = 16 * BIT_PRICE;
const SPREAD = 1.15; // what a price saves over what its symbols cost, for they tell of each other
const APART = 1.05; // times a price, for another pass at that code
const INSIDE = 0.2; // of the way between two prices that a third one keeps from both
const FEWER = 5; // quality codes, where the dearest bits at one take a few bytes too many
const BOLDER = 1.5; // times the way to the budget, for whoever missed it twice on the same side
const MOST_WRONG = 2.5; // times the expected growth
const EVERY = Array.from({ length: MAX_QUALITY_CODE + 1 }, (_, code) => code);

/** What to code with: a quality code and the price of a bit. */
export interface Wanted {
  readonly code: number;
  readonly price: number;
}

/** A coding pass, and the bytes of the whole stream. */
export class Pass implements Wanted {
  constructor(
    readonly code: number,
    readonly price: number,
    readonly size: number,
    private readonly encoded: Pick<Encoded, "prices" | "bits">,
  ) {}

  /** Bytes that the symbols hold which a higher price would drop. */
  saved(price: number): number {
    const { prices, bits } = this.encoded;
    let sum = 0;
    for (let i = 0; i < prices.length; i++) if (prices[i]! < price) sum += bits[i]!;
    return sum / 8;
  }

  /** The lowest price at which `saved` is `size` bytes; infinite where none saves so much. */
  priceThatSaves(size: number): number {
    const { prices, bits } = this.encoded;
    const order = Uint32Array.from(prices, (_, i) => i).sort((a, b) => prices[a]! - prices[b]!);
    let sum = 0;
    for (const i of order) {
      sum += bits[i]!;
      if (sum / 8 >= size) return prices[i]!;
    }
    return Infinity;
  }

  /** What a dearer pass at that code saved over what was told of it, 0.3 at least. */
  spread(dearer: Pass): number {
    return Math.max((this.size - dearer.size) / Math.max(this.saved(dearer.price), 1), 0.3);
  }
}

/** Says which pass to make next, and keeps those that were made. */
export class Search {
  readonly passes: Pass[] = [];

  /** budget: bytes. expected: about the size at each of 181 codes; it rises. */
  constructor(
    private readonly budget: number,
    private readonly expected: readonly number[],
  ) {}

  /** What was not tried, or null where no pass would gain more. */
  nextPass(): Wanted | null {
    const { budget, passes } = this;
    const sizeOf = (code: number, price: number): number | undefined =>
      passes.find((pass) => pass.code === code && pass.price === price)?.size;
    const filled = passes.some(({ size }) => budget * (1 - SLACK) <= size && size <= budget);
    const hopeless = (sizeOf(0, DEAREST) ?? budget) > budget;
    const allOfIt = (sizeOf(MAX_QUALITY_CODE, BIT_PRICE) ?? budget + 1) <= budget;
    if (filled || hopeless || allOfIt || passes.length === MOST_PASSES) return null;
    if (passes.length === MOST_PASSES - 1 && passes.every(({ size }) => size > budget)) {
      // Of all the likeliest to fit, and what an error has to name.
      return { code: 0, price: DEAREST };
    }
    const untried = [...new Set(passes.map(({ code }) => code))]
      .map((code) => this.dearer(code))
      .filter((wanted) => wanted !== null)
      .filter(({ code, price }) => sizeOf(code, price) === undefined)
      .sort((a, b) => a.price - b.price);
    return untried[0] ?? { code: this.code(), price: BIT_PRICE };
  }

  /** What the passes at a code speak for, where a higher price may do there or beside it. */
  private dearer(code: number): Wanted | null {
    const passes = this.passes.filter((pass) => pass.code === code);
    passes.sort((a, b) => a.price - b.price);
    const over = passes.filter(({ size }) => size > this.budget);
    const low = over.at(-1);
    if (!low) return null;
    if (low.price === DEAREST) {
      const isNear = low.size * (1 - SLACK) <= this.budget;
      return isNear ? { code: Math.max(code - FEWER, 0), price: DEAREST } : null;
    }
    const spare = low.size - this.budget * (1 - SLACK / 2);
    const high = passes[over.length];
    if (!high) {
      const spread = over.length < 2 ? SPREAD : over.at(-2)!.spread(low);
      const price = Math.max(low.priceThatSaves(spare / spread), low.price * APART);
      const isReached = low.size - low.saved(DEAREST) <= this.budget;
      return code === 0 || isReached ? { code, price: Math.min(price, DEAREST) } : null;
    }
    if (high.price < low.price * APART) {
      // Over the budget by a jump: less of it, elsewhere.
      return { code: Math.max(code - 1, 0), price: low.price };
    }
    const way = (high.price / low.price) ** INSIDE;
    const price = low.priceThatSaves(spare / low.spread(high));
    return { code, price: Math.min(Math.max(price, low.price * way), high.price / way) };
  }

  /** The untried code nearest to what the sizes so far speak for, all at the usual price. */
  private code(): number {
    const sizes = new Map(
      this.passes.filter(({ price }) => price === BIT_PRICE).map(({ code, size }) => [code, size]),
    );
    const wanted = this.wanted(sizes);
    return EVERY.filter((code) => !sizes.has(code)).reduce((best, code) =>
      Math.abs(code - wanted) < Math.abs(best - wanted) ? code : best,
    );
  }

  private wanted(sizes: ReadonlyMap<number, number>): number {
    const { budget, expected } = this;
    const codes = [...sizes.keys()].sort((a, b) => a - b);
    if (!codes.length) return interpolate(budget, expected, EVERY);
    const high = codes.find((code) => sizes.get(code)! > budget);
    const low = codes.filter((code) => high === undefined || code < high).at(-1);
    if (low !== undefined && high !== undefined) {
      // Between two ends the logarithm of sizes is nearly straight over the code.
      const [lowest, highest] = [sizes.get(low)!, sizes.get(high)!];
      return low + (Math.log(budget / lowest) / Math.log(highest / lowest)) * (high - low);
    }
    const [end, other] = high === undefined ? codes.reverse() : codes;
    let change = budget - sizes.get(end!)!;
    if (other !== undefined) {
      const growth = expected[other]! - expected[end!]!;
      const slope = (sizes.get(other)! - sizes.get(end!)!) / growth;
      change *= BOLDER / Math.min(Math.max(slope, 1 / MOST_WRONG), MOST_WRONG);
    }
    return interpolate(expected[end!]! + change, expected, EVERY);
  }
}

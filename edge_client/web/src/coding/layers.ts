// Layers as matrix products, four outputs at a time.

import { type Kernel, openKernel } from "./integer_kernel.js";

const PANEL = 4; // outputs, and rows of the integers
const PAGE = 65536; // bytes of WebAssembly's memory

/** The memory of integer layers: weights, which stay, and inputs and sums of the one that runs. */
export class Workspace {
  private readonly memory = new WebAssembly.Memory({ initial: 1 });
  private readonly kernel: Kernel = openKernel(this.memory);
  private end = 0; // of the weights, in bytes; they are laid down first

  /** Lay down weights i16 and return their address. */
  keep(weights: Int16Array): number {
    const address = this.end;
    this.end += weights.byteLength;
    this.reserve(0);
    new Int16Array(this.memory.buffer, address).set(weights);
    return address;
  }

  /**
   * Sums of rows [rows, inputs] times weights as `keep` laid them down, [outputs / 4, pairs, 4, 2];
   * visit(output, row, sums) gets the sums of four rows by four outputs from these on.
   */
  multiply(
    x: Int32Array,
    rows: number,
    inputs: number,
    weights: number,
    outputs: number,
    visit: (output: number, row: number, sums: Int32Array) => void,
  ): void {
    const pairs = Math.ceil(inputs / 2);
    const tiles = Math.ceil(rows / PANEL);
    const bytes = 16 * pairs; // of four rows, and of four outputs
    this.reserve(tiles * bytes + 64);
    const packed = new Int16Array(this.memory.buffer, this.end, tiles * 8 * pairs);
    for (let row = 0; row < rows; row++) {
      let to = (row >> 2) * 8 * pairs + 2 * (row & 3);
      let from = row * inputs;
      for (let i = 1; i < inputs; i += 2, to += 8) {
        packed[to] = x[from++]!;
        packed[to + 1] = x[from++]!;
      }
      if (inputs & 1) {
        packed[to] = x[from]!;
        packed[to + 1] = 0;
      }
    }
    const out = this.end + tiles * bytes;
    const sums = new Int32Array(this.memory.buffer, out, 16);
    for (let output = 0; output < outputs; output += PANEL, weights += bytes) {
      for (let tile = 0; tile < tiles; tile++) {
        this.kernel(this.end + tile * bytes, weights, pairs, out);
        visit(output, tile * PANEL, sums);
      }
    }
  }

  private reserve(bytes: number): void {
    const missing = this.end + bytes - this.memory.buffer.byteLength;
    if (missing > 0) this.memory.grow(Math.ceil(missing / PAGE));
  }
}

/** out = clip((x W + b) >> shift, low, high), in integers of 32 bits; inputs have 16. */
export class IntegerLayer {
  readonly inputs: number;
  readonly outputs: number;
  private readonly weights: number; // their address

  /** weight: [inputs, outputs]. bias, shift: one an output. */
  constructor(
    private readonly workspace: Workspace,
    weight: ArrayLike<number>,
    private readonly bias: ArrayLike<number>,
    private readonly shift: ArrayLike<number>,
    private readonly low: number,
    private readonly high: number,
  ) {
    this.outputs = bias.length;
    this.inputs = weight.length / bias.length;
    this.weights = workspace.keep(paired(this.inputs, this.outputs, weight));
  }

  /** x: [rows, inputs] -> out: [rows, outputs]. */
  apply(x: Int32Array, rows: number, out: Int32Array): void {
    const { inputs, outputs, bias, shift, low, high } = this;
    this.workspace.multiply(x, rows, inputs, this.weights, outputs, (output, row, sums) => {
      const wide = Math.min(PANEL, outputs - output);
      const tall = Math.min(PANEL, rows - row);
      for (let r = 0; r < tall; r++) {
        const to = (row + r) * outputs + output;
        for (let o = 0; o < wide; o++) {
          const value = (sums[PANEL * r + o]! + bias[output + o]!) >> shift[output + o]!;
          out[to + o] = value < low ? low : value > high ? high : value;
        }
      }
    });
  }
}

/** out = x W + b, in floats. */
export class FloatLayer {
  readonly inputs: number;
  readonly outputs: number;
  private readonly panels: Float32Array;

  /** weight: [inputs, outputs]. */
  constructor(
    weight: ArrayLike<number>,
    private readonly bias: ArrayLike<number>,
  ) {
    this.outputs = bias.length;
    this.inputs = weight.length / bias.length;
    this.panels = new Float32Array(panelled(this.inputs, this.outputs, weight));
  }

  /** x: [rows, inputs] -> [rows, outputs]. */
  apply(x: Float32Array, rows: number): Float32Array {
    const { inputs, outputs, panels, bias } = this;
    const out = new Float32Array(rows * outputs);
    for (let output = 0; output < outputs; output += PANEL) {
      for (let row = 0; row < rows; row++) {
        let [a0, a1, a2, a3] = [0, 0, 0, 0];
        for (let i = row * inputs, w = output * inputs; i < (row + 1) * inputs; i++, w += PANEL) {
          const a = x[i]!;
          a0 += a * panels[w]!;
          a1 += a * panels[w + 1]!;
          a2 += a * panels[w + 2]!;
          a3 += a * panels[w + 3]!;
        }
        const sums = [a0, a1, a2, a3];
        for (let o = 0; o < PANEL && output + o < outputs; o++) {
          out[row * outputs + output + o] = Math.fround(sums[o]!) + bias[output + o]!;
        }
      }
    }
    return out;
  }
}

/** [outputs / 4, inputs, 4], filled up with zeros. */
function panelled(inputs: number, outputs: number, weight: ArrayLike<number>): Float64Array {
  const panels = new Float64Array(Math.ceil(outputs / PANEL) * PANEL * inputs);
  for (let input = 0; input < inputs; input++) {
    for (let output = 0; output < outputs; output++) {
      const lane = output % PANEL;
      panels[(output - lane) * inputs + input * PANEL + lane] = weight[input * outputs + output]!;
    }
  }
  return panels;
}

/** [outputs / 4, pairs of inputs, 4, 2], filled up with zeros. */
function paired(inputs: number, outputs: number, weight: ArrayLike<number>): Int16Array {
  const pairs = Math.ceil(inputs / 2);
  const weights = new Int16Array(Math.ceil(outputs / PANEL) * pairs * 8);
  for (let input = 0; input < inputs; input++) {
    for (let output = 0; output < outputs; output++) {
      const panel = (output >> 2) * pairs + (input >> 1);
      weights[8 * panel + 2 * (output & 3) + (input & 1)] = weight[input * outputs + output]!;
    }
  }
  return weights;
}

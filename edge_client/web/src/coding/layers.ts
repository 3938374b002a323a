// Layers as matrix products, four outputs of two rows at a time.

const PANEL = 4; // outputs

/** out = clip((x W + b) >> shift, low, high), in integers of 32 bits. */
export class IntegerLayer {
  readonly inputs: number;
  readonly outputs: number;
  private readonly panels: Int32Array; // [outputs / 4, inputs, 4], filled up with zeros
  private readonly bias: Int32Array;
  private readonly shift: Int32Array;

  /** weight: [inputs, outputs]. bias, shift: one an output. */
  constructor(
    weight: ArrayLike<number>,
    bias: ArrayLike<number>,
    shift: ArrayLike<number>,
    private readonly low: number,
    private readonly high: number,
  ) {
    this.outputs = bias.length;
    this.inputs = weight.length / bias.length;
    this.panels = new Int32Array(panelled(this.inputs, this.outputs, weight));
    this.bias = filledUp(bias);
    this.shift = filledUp(shift);
  }

  /** x: [rows, inputs] -> out: [rows, outputs]. */
  apply(x: Int32Array, rows: number, out: Int32Array): void {
    const { inputs, outputs, panels, bias, shift, low, high } = this;
    for (let output = 0; output < outputs; output += PANEL) {
      const wide = Math.min(PANEL, outputs - output);
      for (let row = 0; row < rows; row += 2) {
        const first = row * inputs;
        const second = row + 1 < rows ? first + inputs : first;
        let a0 = bias[output]!;
        let a1 = bias[output + 1]!;
        let a2 = bias[output + 2]!;
        let a3 = bias[output + 3]!;
        let b0 = a0;
        let b1 = a1;
        let b2 = a2;
        let b3 = a3;
        for (let i = 0, w = output * inputs; i < inputs; i++, w += PANEL) {
          const a = x[first + i]!;
          const b = x[second + i]!;
          const w0 = panels[w]!;
          const w1 = panels[w + 1]!;
          const w2 = panels[w + 2]!;
          const w3 = panels[w + 3]!;
          a0 = (a0 + Math.imul(a, w0)) | 0;
          a1 = (a1 + Math.imul(a, w1)) | 0;
          a2 = (a2 + Math.imul(a, w2)) | 0;
          a3 = (a3 + Math.imul(a, w3)) | 0;
          b0 = (b0 + Math.imul(b, w0)) | 0;
          b1 = (b1 + Math.imul(b, w1)) | 0;
          b2 = (b2 + Math.imul(b, w2)) | 0;
          b3 = (b3 + Math.imul(b, w3)) | 0;
        }
        const sums = row + 1 < rows ? [a0, a1, a2, a3, b0, b1, b2, b3] : [a0, a1, a2, a3];
        for (let s = 0; s < sums.length; s++) {
          const o = s & 3;
          if (o >= wide) continue;
          const value = sums[s]! >> shift[output + o]!;
          const place = (row + (s >> 2)) * outputs + output + o;
          out[place] = value < low ? low : value > high ? high : value;
        }
      }
    }
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

function filledUp(values: ArrayLike<number>): Int32Array {
  const filled = new Int32Array(Math.ceil(values.length / PANEL) * PANEL);
  filled.set(values);
  return filled;
}

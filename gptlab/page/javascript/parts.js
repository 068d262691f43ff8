// The parts of a block: norms, activation functions with their MLPs, and the short convolution. As in gptlab/parts.py.
import { linear } from "./tensor.js";

/**
 * One row, normalised: LayerNorm subtracts the mean and divides by the standard deviation, RMSNorm divides by the root
 * mean square.
 * @param {Float32Array} out - written from outAt on: [size]
 * @param {number} outAt
 * @param {Float32Array} x - read from xAt on: [size]; may be the same array and place as out
 * @param {number} xAt
 * @param {{kind: string, weight: Float32Array, bias: ?Float32Array, eps: number}} norm - its weight has the size
 */
export function normalise(out, outAt, x, xAt, norm) {
  const { weight, bias, eps } = norm;
  const size = weight.length;
  let mean = 0;
  if (norm.kind === "layernorm") {
    for (let i = 0; i < size; i++) mean += x[xAt + i];
    mean /= size;
  }
  let square = 0;
  for (let i = 0; i < size; i++) square += (x[xAt + i] - mean) ** 2;
  const scale = 1 / Math.sqrt(square / size + eps);
  for (let i = 0; i < size; i++) {
    out[outAt + i] = (x[xAt + i] - mean) * scale * weight[i] + (bias === null ? 0 : bias[i]);
  }
}

/**
 * The error function, by a series whose terms are all positive, so that nothing cancels (Abramowitz & Stegun 7.1.6).
 * @param {number} x
 * @returns {number} in (-1, 1)
 */
export function erf(x) {
  const square = x * x;
  if (square > 36) return Math.sign(x); // the rest is below what a number can show
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (2 * square) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-square) * sum;
}

/** The activation functions, by the names of `GPTConfig.mlp`; "swiglu" is its gate's. */
export const ACTIVATIONS = {
  gelu: (x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2)),
  gelu_tanh: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  relu2: (x) => (x > 0 ? x * x : 0),
  swiglu: (x) => x / (1 + Math.exp(-x)),
};

/**
 * What is computed at each position on its own: up-projection, activation function, down-projection.
 * @param {Float32Array} out - written from the beginning: [n, C]
 * @param {Float32Array} x - read from the beginning: [n, C]
 * @param {object} mlp - {activation, up, down, gate}; gate is null but for SwiGLU, which multiplies by it
 * @param {number} n - rows
 * @param {{hidden: Float32Array, gate: Float32Array}} scratch - room for [n, width], twice
 */
export function runMLP(out, x, mlp, n, scratch) {
  const { activation, up, down, gate } = mlp;
  const { hidden } = scratch;
  const numbers = n * up.outputs;
  linear(hidden, 0, x, 0, up, n); // [n, C] -> [n, width]
  if (gate === null) {
    for (let i = 0; i < numbers; i++) hidden[i] = activation(hidden[i]);
  } else {
    linear(scratch.gate, 0, x, 0, gate, n);
    for (let i = 0; i < numbers; i++) hidden[i] *= activation(scratch.gate[i]);
  }
  linear(out, 0, hidden, 0, down, n); // [n, width] -> [n, C]
}

/**
 * Add to each position a weighted sum of the last few positions, channel by channel. In place.
 *
 * From the last row to the first: then the rows before it still are what they were.
 * @param {Float32Array} x - [n, C]
 * @param {number} n - rows
 * @param {{weight: Float32Array, width: number, C: number}} convolution - row i of its weight [width, C] is for the
 *   position i back
 * @param {Float32Array} window - the width - 1 rows before x, zeros at the beginning of a text; afterwards those before
 *   whatever comes next
 */
export function convolve(x, n, convolution, window) {
  const { weight, width, C } = convolution;
  const past = width - 1;
  const next = new Float32Array(past * C);
  for (let row = 0; row < past; row++) {
    const t = n - past + row; // the position of this row in x; before it begins, in the old window
    const from = t >= 0 ? x : window;
    const at = (t >= 0 ? t : past + t) * C;
    for (let i = 0; i < C; i++) next[row * C + i] = from[at + i];
  }
  for (let t = n - 1; t >= 0; t--) {
    for (let i = 0; i < C; i++) {
      let sum = x[t * C + i];
      for (let back = 0; back < width; back++) {
        const before = t - back;
        sum += weight[back * C + i] * (before >= 0 ? x[before * C + i] : window[(past + before) * C + i]);
      }
      x[t * C + i] = sum;
    }
  }
  window.set(next);
}

// Numbers: how the weights of a page become arrays, and the few operations that a GPT is made of.
//
// An array holds rows one after the other: element (t, i) of a [T, C] array stands at t * C + i. Weights and
// activations are 32-bit numbers, as in PyTorch; JavaScript adds up in 64 bits, and `simd.js`, for many rows, in 32.

import { multiplyRows } from "./simd.js";

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;,=>?@^_`{|}~";

/**
 * The bytes that a text in base 85 stands for: five digits for four bytes, where base64 would need more.
 * @param {string} text - a multiple of five digits; those of RFC 1924, but "," for "<", which HTML would have to escape
 * @returns {Uint8Array}
 */
export function decodeBase85(text) {
  const valueOf = new Uint8Array(128);
  for (let value = 0; value < DIGITS.length; value++) valueOf[DIGITS.charCodeAt(value)] = value;
  const bytes = new Uint8Array((text.length / 5) * 4);
  const view = new DataView(bytes.buffer);
  for (let group = 0; group * 5 < text.length; group++) {
    let number = 0;
    for (let i = 0; i < 5; i++) number = number * 85 + valueOf[text.charCodeAt(group * 5 + i)];
    view.setUint32(group * 4, number); // the first byte is the most significant
  }
  return bytes;
}

/**
 * The value of a 16-bit floating-point number: one bit of sign, five of exponent, ten of fraction (IEEE 754 binary16).
 * @param {number} bits - the 16 bits, as an integer
 * @returns {number}
 */
export function float16Value(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24; // too small for a leading 1
  if (exponent === 0x1f) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The values of all 65,536 of them, so that a weight is looked up and not computed. */
const FLOAT16_VALUES = Float32Array.from({ length: 65_536 }, (_, bits) => float16Value(bits));

/**
 * One tensor of a page, as 32-bit numbers.
 *
 * Bytes are little-endian. An int8 matrix has one float32 scale for each row, so that each row uses all 255 steps.
 * @param {Uint8Array} bytes - all weights of the page
 * @param {{shape: number[], dtype: string, offset: number, scales?: number}} entry - where and how it is stored
 * @returns {Float32Array} of as many numbers as the shape says
 */
export function readTensor(bytes, entry) {
  const size = entry.shape.reduce((product, length) => product * length, 1);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const numbers = new Float32Array(size);
  if (entry.dtype === "float16") {
    for (let i = 0; i < size; i++) numbers[i] = FLOAT16_VALUES[view.getUint16(entry.offset + 2 * i, true)];
  } else if (entry.dtype === "float32") {
    for (let i = 0; i < size; i++) numbers[i] = view.getFloat32(entry.offset + 4 * i, true);
  } else if (entry.dtype === "int8") {
    const width = size / entry.shape[0];
    for (let row = 0, i = 0; row < entry.shape[0]; row++) {
      const scale = view.getFloat32(entry.scales + 4 * row, true);
      for (const end = i + width; i < end; i++) numbers[i] = view.getInt8(entry.offset + i) * scale;
    }
  } else {
    throw new Error(`weights of the type ${entry.dtype} cannot be read: they are float16, float32 or int8`);
  }
  return numbers;
}

const MANY = 8; // rows, from which on copying them to where `simd.js` works pays

/**
 * A linear layer on n rows: out = x Wᵀ + b. This is where nearly all of the time goes.
 *
 * PyTorch stores W as [outputs, inputs], so that a row of it lies in memory as its sum needs it.
 * @param {Float32Array} out - written from outAt on: [n, outputs]
 * @param {number} outAt
 * @param {Float32Array} x - read from xAt on: [n, inputs]
 * @param {number} xAt
 * @param {{weight: Float32Array, bias: ?Float32Array, inputs: number, outputs: number}} layer
 * @param {number} n - rows
 */
export function linear(out, outAt, x, xAt, layer, n) {
  const { weight, bias, inputs, outputs } = layer;
  if (n < MANY || !multiplyRows(out, outAt, x, xAt, layer, n)) {
    const matrix = { weight, inputs, outputs, at: 0, down: inputs, right: 1 };
    for (let t = 0; t < n; t++) multiply(out, outAt + t * outputs, x, xAt + t * inputs, matrix);
  }
  if (bias === null) return;
  for (let t = 0; t < n; t++) for (let o = 0; o < outputs; o++) out[outAt + t * outputs + o] += bias[o];
}

/**
 * out = W x for one row x. Four outputs side by side: each number of x is fetched once for all, and no sum waits for
 * another.
 * @param {Float32Array} out - written from outAt on: [outputs]
 * @param {number} outAt
 * @param {Float32Array} x - read from xAt on: [inputs]
 * @param {number} xAt
 * @param {{weight: Float32Array, inputs: number, outputs: number, at: number, down: number, right: number}} matrix -
 *   number (o, i) of W stands at `at + o * down + i * right` of its array
 */
export function multiply(out, outAt, x, xAt, { weight, inputs, outputs, at, down, right }) {
  const inFours = outputs - (outputs % 4);
  for (let o = 0; o < inFours; o += 4) {
    let a = 0;
    let b = 0;
    let c = 0;
    let d = 0;
    for (let i = 0, w = at + o * down; i < inputs; i++, w += right) {
      const value = x[xAt + i];
      a += weight[w] * value;
      b += weight[w + down] * value;
      c += weight[w + 2 * down] * value;
      d += weight[w + 3 * down] * value;
    }
    out[outAt + o] = a;
    out[outAt + o + 1] = b;
    out[outAt + o + 2] = c;
    out[outAt + o + 3] = d;
  }
  for (let o = inFours; o < outputs; o++) {
    let sum = 0;
    for (let i = 0, w = at + o * down; i < inputs; i++, w += right) sum += weight[w] * x[xAt + i];
    out[outAt + o] = sum;
  }
}

/**
 * Turn numbers into shares that sum to 1: exp of each, divided by the sum of all. In place.
 * @param {Float32Array} numbers
 * @param {number} from - the first that counts
 * @param {number} to - the one behind the last
 */
export function softmax(numbers, from = 0, to = numbers.length) {
  let largest = -Infinity; // taken off first, so that no exp is too large for a number
  for (let i = from; i < to; i++) if (numbers[i] > largest) largest = numbers[i];
  let sum = 0;
  for (let i = from; i < to; i++) {
    numbers[i] = Math.exp(numbers[i] - largest);
    sum += numbers[i];
  }
  for (let i = from; i < to; i++) numbers[i] /= sum;
}

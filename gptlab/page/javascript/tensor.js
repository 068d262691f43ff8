// Numbers: how the weights of a page become arrays, and the few operations that a GPT is made of.
//
// An array holds rows one after the other: element (t, i) of a [T, C] array stands at t * C + i. Weights and activations
// are 32-bit numbers, as in PyTorch; JavaScript adds them up in 64 bits.

/**
 * The bytes that a base64 text stands for.
 * @param {string} text
 * @returns {Uint8Array}
 */
export function decodeBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
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
    for (let i = 0; i < size; i++) numbers[i] = float16Value(view.getUint16(entry.offset + 2 * i, true));
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

/**
 * A linear layer on n rows: out = x Wᵀ + b. This is where nearly all of the time goes.
 *
 * PyTorch stores W as [outputs, inputs], so a row of it lies in memory as the sum needs it. Four sums go on side by side,
 * because a processor need not wait for one to begin the next.
 * @param {Float32Array} out - written from outAt on: [n, outputs]
 * @param {number} outAt
 * @param {Float32Array} x - read from xAt on: [n, inputs]
 * @param {number} xAt
 * @param {{weight: Float32Array, bias: ?Float32Array, inputs: number, outputs: number}} layer
 * @param {number} n - rows
 */
export function linear(out, outAt, x, xAt, layer, n) {
  const { weight, bias, inputs, outputs } = layer;
  const even = inputs - (inputs % 4);
  for (let t = 0; t < n; t++) {
    const from = xAt + t * inputs;
    const to = outAt + t * outputs;
    for (let o = 0, w = 0; o < outputs; o++, w += inputs) {
      let a = 0;
      let b = 0;
      let c = 0;
      let d = 0;
      for (let i = 0; i < even; i += 4) {
        a += weight[w + i] * x[from + i];
        b += weight[w + i + 1] * x[from + i + 1];
        c += weight[w + i + 2] * x[from + i + 2];
        d += weight[w + i + 3] * x[from + i + 3];
      }
      for (let i = even; i < inputs; i++) a += weight[w + i] * x[from + i];
      out[to + o] = a + b + (c + d) + (bias === null ? 0 : bias[o]);
    }
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

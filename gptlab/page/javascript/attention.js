// Attention: each position decides where to look. As in gptlab/attention.py; rotary positions as in gptlab/parts.py.
import { normalise } from "./parts.js";
import { linear, multiply, softmax } from "./tensor.js";

/**
 * The angle by which one position rotates pair i of a head's channels: 1 / theta^(2i / hs), rounded as in PyTorch.
 * @param {number} hs - the head size, even
 * @param {number} theta - base of the frequencies
 * @param {?{factor: number, low: number, high: number, context: number}} scaling - Llama 3.1's stretching, or null
 * @returns {Float32Array} [hs / 2], in radians
 */
export function ropeFrequencies(hs, theta, scaling) {
  const frequencies = new Float32Array(hs / 2);
  for (let i = 0; i < hs / 2; i++) {
    const frequency = Math.fround(1 / Math.fround(theta ** Math.fround((2 * i) / hs)));
    frequencies[i] = frequency;
    if (scaling) {
      const turns = (scaling.context * frequency) / (2 * Math.PI); // whole turns within the context of the training
      const share = Math.min(1, Math.max(0, (turns - scaling.low) / (scaling.high - scaling.low)));
      frequencies[i] = ((1 - share) * frequency) / scaling.factor + share * frequency;
    }
  }
  return frequencies;
}

/**
 * Cosines and sines of all positions, computed once.
 * @param {number} hs - the head size, even
 * @param {number} T - positions, from 0
 * @param {number} theta - as for ropeFrequencies
 * @param {?object} scaling - as for ropeFrequencies
 * @returns {{cos: Float32Array, sin: Float32Array}} [T, hs / 2] each
 */
export function rotaryPositions(hs, T, theta, scaling) {
  const half = hs / 2;
  const frequencies = ropeFrequencies(hs, theta, scaling);
  const cos = new Float32Array(T * half);
  const sin = new Float32Array(T * half);
  for (let t = 0; t < T; t++) {
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(t * frequencies[i]);
      cos[t * half + i] = Math.cos(angle);
      sin[t * half + i] = Math.sin(angle);
    }
  }
  return { cos, sin };
}

/**
 * Rotate each pair of channels (i, i + hs / 2) of one head by the angle of its position. In place.
 * @param {Float32Array} x - a query or a key, from at on: [hs]
 * @param {number} at
 * @param {number} hs
 * @param {number} position
 * @param {{cos: Float32Array, sin: Float32Array}} rotary
 */
export function rotate(x, at, hs, position, rotary) {
  const half = hs / 2;
  for (let i = 0, angle = position * half; i < half; i++, angle++) {
    const cos = rotary.cos[angle];
    const sin = rotary.sin[angle];
    const a = x[at + i];
    const b = x[at + i + half];
    x[at + i] = a * cos - b * sin;
    x[at + i + half] = a * sin + b * cos;
  }
}

/** Normalise and rotate every head of n rows, as far as the model does. In place: x is [n, heads * hs] from at on. */
function prepareHeads(x, at, n, heads, hs, start, norm, rotary) {
  for (let t = 0; t < n; t++) {
    for (let head = 0; head < heads; head++) {
      const place = at + (t * heads + head) * hs;
      if (norm !== null) normalise(x, place, x, place, norm);
      if (rotary !== null) rotate(x, place, hs, start + t, rotary);
    }
  }
}

/**
 * Multi-head attention: softmax(q kᵀ / √hs) v in each head, and a projection that mixes what the heads found.
 *
 * Keys and values of all n rows go into the cache, where those of the positions before stand already; queries are asked
 * only for the last `rows` of them.
 * @param {Float32Array} out - written: [rows, C]
 * @param {Float32Array} x - [n, C]
 * @param {object} attention - {H, G, hs, query, key, value, output, queryNorm, keyNorm}; H heads of queries share
 *   G heads of keys and values
 * @param {{k: Float32Array, v: Float32Array}} cache - of this layer: [T, G * hs] each
 * @param {object} call - {start, n, rows, rotary, off, weights, scratch}: `start` positions are cached; `off` has the
 *   numbers of heads whose output is zero; `weights`, unless null, gets for each head an array [rows, start + n]
 */
export function attend(out, x, attention, cache, call) {
  const { H, G, hs, query, key, value, output, queryNorm, keyNorm } = attention;
  const { start, n, rows, rotary, off, weights } = call;
  const { q, mixed, scores } = call.scratch;
  const first = n - rows; // of the rows that are asked for
  const width = G * hs; // of a row in the cache

  // Keys and values of all rows, straight into the cache; queries of the last rows.
  linear(cache.k, start * width, x, 0, key, n);
  linear(cache.v, start * width, x, 0, value, n);
  linear(q, 0, x, first * query.inputs, query, rows);
  prepareHeads(cache.k, start * width, n, G, hs, start, keyNorm, rotary);
  prepareHeads(q, 0, rows, H, hs, start + first, queryNorm, rotary);

  const scale = 1 / Math.sqrt(hs);
  for (let row = 0; row < rows; row++) {
    const seen = start + first + row + 1; // a position attends to itself and to those before it: the causal mask
    for (let head = 0; head < H; head++) {
      const at = (row * H + head) * hs;
      const group = Math.floor((head * G) / H) * hs; // the keys and values that this head shares
      multiply(scores, 0, q, at, { weight: cache.k, inputs: hs, outputs: seen, at: group, down: width, right: 1 });
      for (let t = 0; t < seen; t++) scores[t] *= scale;
      softmax(scores, 0, seen);
      if (weights !== null) weights[head].set(scores.subarray(0, seen), row * (start + n));

      if (off !== null && off.has(head)) mixed.fill(0, at, at + hs);
      else multiply(mixed, at, scores, 0, { weight: cache.v, inputs: seen, outputs: hs, at: group, down: 1, right: width });
    }
  }
  linear(out, 0, mixed, 0, output, rows); // heads side by side -> [rows, C]
}

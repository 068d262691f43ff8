// What a token is, plus where it stands. As in gptlab/embedding.py.

/**
 * Positions as waves of geometrically growing length, sines and cosines in turn.
 *
 * `Math.fround` rounds to 32 bits where PyTorch does, so that the page has the model's own waves.
 * @param {number} T - positions, from 0
 * @param {number} C - channels
 * @returns {Float32Array} [T, C]
 */
export function sinusoidal(T, C) {
  const waves = new Float32Array(T * C);
  const step = Math.fround(-Math.log(10_000) / C);
  for (let i = 0; i < C; i += 2) {
    const frequency = Math.fround(Math.exp(Math.fround(i * step)));
    for (let t = 0; t < T; t++) {
      const angle = Math.fround(t * frequency);
      waves[t * C + i] = Math.sin(angle);
      if (i + 1 < C) waves[t * C + i + 1] = Math.cos(angle); // an odd C ends with a sine
    }
  }
  return waves;
}

/**
 * The vector of each token, with its position's added where the model adds positions.
 * @param {Float32Array} out - written: [n, C]
 * @param {{token: Float32Array, positions: ?Float32Array, V: number, C: number}} embedding - tables [V, C] and [T, C]
 * @param {number[]} ids - n token ids
 * @param {number} start - the position of the first
 * @param {boolean} withPositions - false leaves the positions out
 */
export function embed(out, embedding, ids, start, withPositions) {
  const { token, positions, V, C } = embedding;
  for (let t = 0; t < ids.length; t++) {
    const id = ids[t];
    if (!(Number.isInteger(id) && id >= 0 && id < V)) {
      throw new Error(`token id ${id} is not in this vocabulary, whose ids are 0 to ${V - 1}`);
    }
    for (let i = 0; i < C; i++) out[t * C + i] = token[id * C + i];
    if (positions !== null && withPositions) {
      for (let i = 0; i < C; i++) out[t * C + i] += positions[(start + t) * C + i];
    }
  }
}

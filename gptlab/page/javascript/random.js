// Random numbers that a seed decides, the same in every browser.

/**
 * A source of random numbers: xoshiro128** (Blackman & Vigna 2018), whose four words of state come from the seed.
 * @param {number} seed - a whole number
 * @returns {function(): number} each call gives the next number in [0, 1)
 */
export function makeRandom(seed) {
  // Neighbouring seeds must not give similar numbers, so each word of state is a count that is mixed well (as at the
  // end of MurmurHash3).
  const state = Uint32Array.from([1, 2, 3, 4], (i) => {
    let word = (seed + Math.imul(i, 0x9e3779b9)) | 0;
    word = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
    word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
    return word ^ (word >>> 16);
  });
  const rotateLeft = (word, bits) => (word << bits) | (word >>> (32 - bits));
  const next = () => {
    const result = Math.imul(rotateLeft(Math.imul(state[1], 5), 7), 9) >>> 0;
    const shifted = state[1] << 9;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotateLeft(state[3], 11);
    return result;
  };
  // 53 bits: as many as a number in JavaScript can hold.
  return () => ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) / 2 ** 53;
}

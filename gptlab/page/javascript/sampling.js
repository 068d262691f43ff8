// From logits to the next token: what reshapes the distribution, and one token sampled from it, as in
// gptlab/next_token.py.
import { softmax } from "./tensor.js";

/** The ids from the most likely to the least; of equal ones the smaller id first. */
function bestFirst(logits) {
  return Array.from(logits, (_, id) => id).sort((a, b) => logits[b] - logits[a]);
}

/**
 * The distribution that the next token is sampled from: temperature, then top-k, then top-p, each on what the one
 * before has left.
 * @param {Float32Array} logits - [V]
 * @param {object} options
 * @param {number} [options.temperature] - below 1 sharpens, above 1 flattens, 0 leaves only the best token
 * @param {?number} [options.topK] - only the k best tokens stay possible; null for all
 * @param {?number} [options.topP] - only the fewest best tokens whose probabilities reach p stay possible; null for all
 * @returns {Float32Array} [V], of sum 1
 */
export function filteredProbabilities(logits, { temperature = 1, topK = null, topP = null } = {}) {
  if (!(temperature >= 0)) throw new Error(`temperature ${temperature} must not be negative`);
  if (topK !== null && !(topK >= 1)) throw new Error(`top-k ${topK} leaves no token to choose: pass at least 1`);
  if (topP !== null && !(topP > 0 && topP <= 1)) throw new Error(`top-p ${topP} must lie above 0 and be at most 1`);
  let best = 0;
  for (let id = 1; id < logits.length; id++) if (logits[id] > logits[best]) best = id;
  if (!Number.isFinite(logits[best])) throw new Error("the largest logit is no number, so no token can be chosen");

  const probabilities = new Float32Array(logits.length);
  if (temperature < 2 ** -126) {
    probabilities[best] = 1; // 0, or too near to divide by
    return probabilities;
  }
  for (let id = 0; id < logits.length; id++) probabilities[id] = (logits[id] - logits[best]) / temperature;
  const order = topK !== null || (topP !== null && topP < 1) ? bestFirst(logits) : null;
  if (topK !== null) for (const id of order.slice(topK)) probabilities[id] = -Infinity;
  softmax(probabilities);
  if (topP !== null && topP < 1) {
    let better = 0; // what the more likely ones reach without this one
    let kept = 0;
    for (const id of order) {
      const p = probabilities[id];
      if (better >= topP) probabilities[id] = 0;
      else kept += p;
      better += p;
    }
    for (let id = 0; id < probabilities.length; id++) probabilities[id] /= kept;
  }
  return probabilities;
}

/**
 * One token, each as often as its probability says.
 * @param {Float32Array} probabilities - [V]
 * @param {function(): number} random - as makeRandom gives it
 * @returns {number} the id
 */
export function sample(probabilities, random) {
  let left = random();
  let last = 0;
  for (let id = 0; id < probabilities.length; id++) {
    if (probabilities[id] === 0) continue;
    last = id; // where rounding leaves something over, it goes to the last possible token
    left -= probabilities[id];
    if (left < 0) return id;
  }
  return last;
}

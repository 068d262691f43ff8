// A text that grows: the model reads each token once while everything fits its context. As in gptlab/sampling.py.
import { KVCache } from "./cache.js";
import { readTokens } from "./model.js";
import { linear } from "./tensor.js";

/**
 * A growing text and what the model has computed about it.
 *
 * The model sees the last `context` tokens. Beyond, the window slides: each token then stands at another position than
 * before, nothing that was cached is valid, and every step reads the whole window again.
 */
export class Session {
  /**
   * @param {object} model - as loadModel gives it
   * @param {object} [options] - {switches, watch}, as for forward
   */
  constructor(model, { switches = {}, watch = false } = {}) {
    this.model = model;
    this.switches = switches;
    this.watch = watch;
    this.cache = new KVCache(model);
    this.ids = []; // all tokens so far
    this.attention = null; // if watched: [layer][head] arrays [rows, keys] of the tokens that were fed last
    this.rows = 0;
    this.keys = 0;
  }

  /**
   * Read more tokens.
   * @param {number[]} ids - at least one
   * @returns {Float32Array} [V]: logits for what comes next
   */
  feed(ids) {
    const { context, vocab_size: V, n_embd: C } = this.model.config;
    if (ids.length === 0) throw new Error("there is no token to read: feed at least one");
    const before = this.ids.length;
    for (const id of ids) this.ids.push(id);
    let unread = ids;
    if (this.ids.length > context) {
      this.cache.reset();
      unread = this.ids.slice(-context);
    }
    const rows = this.watch ? Math.min(ids.length, context) : 1;
    try {
      const { switches, watch } = this;
      const { normed, attention } = readTokens(this.model, unread, this.cache, { switches, watch, rows });
      this.attention = attention;
      this.rows = rows;
      this.keys = this.cache.length;
      const logits = new Float32Array(V);
      linear(logits, 0, normed, (rows - 1) * C, this.model.head, 1);
      return logits;
    } catch (error) {
      this.ids.length = before; // an id that does not exist leaves the text as it was
      throw error;
    }
  }
}

// A text as the model sees it: its tokens, the text of each, and what the model computed at each position.
import { forward, surprise } from "../model.js";

/** The ids of a distribution, most probable first. */
export function ranked(values, count) {
  const ids = Array.from(values.keys());
  ids.sort((a, b) => values[b] - values[a] || a - b);
  return ids.slice(0, count);
}

export class Passage {
  /** @param page what the parts of the page share
   *  @param ids the tokens
   *  @param given how many of them were given, not written by the model */
  constructor(page, ids, given = ids.length) {
    this.page = page;
    this.given = given;
    this.ids = [];
    this.pieces = []; // the text that each token adds; "" where a character is not complete, and for special tokens
    this.starts = []; // the number of characters before it
    this.length = 0;
    this.logits = []; // logits[i] belongs to the prediction of token i, made one position before
    this.surprises = [];
    this.seen = null;
    this.decoder = new TextDecoder();
    for (const id of ids) this.push(id);
  }

  push(id, logits = null) {
    if (logits) this.logits[this.ids.length] = logits;
    const special = this.page.isSpecial(id);
    const piece = special ? "" : this.decoder.decode(this.page.tokenizer.tokenBytes(id), { stream: true });
    this.ids.push(id);
    this.pieces.push(piece);
    this.starts.push(this.length);
    this.length += Array.from(piece).length;
    this.seen = null;
  }

  /** The text without its special tokens. */
  get text() {
    return this.pieces.join("");
  }

  /** What a person should see for token i. */
  shown(i) {
    if (i >= this.ids.length) return "";
    const id = this.ids[i];
    return this.pieces[i] || this.page.nameOf(id);
  }

  /** What the model computed on the way to token i: the tokens from `start` on were in its context. */
  computed(i) {
    const { model } = this.page;
    const { context } = model.config;
    const all = this.ids.length <= context;
    const start = all ? 0 : Math.max(0, i - context);
    const end = all ? this.ids.length : Math.min(this.ids.length, start + context);
    if (!this.seen || this.seen.start !== start || this.seen.end < i) {
      const { logits, attention } = forward(model, this.ids.slice(start, end), { watch: true });
      this.seen = { start, end, logits, attention };
    }
    return this.seen;
  }

  /** The logits of the prediction of token i; i may be the next one. There is none for the first. */
  logitsFor(i) {
    if (i < 1 || i > this.ids.length) return null;
    if (!this.logits[i]) {
      const { start, logits } = this.computed(i);
      const size = logits.length / (this.seen.end - start);
      this.logits[i] = logits.slice((i - 1 - start) * size, (i - start) * size);
    }
    return this.logits[i];
  }

  /** −ln of the chance that token i had, in nats; null for the first, which nothing predicted. */
  surprise(i) {
    if (i < 1 || i >= this.ids.length) return null;
    this.surprises[i] ??= surprise(this.logitsFor(i), this.ids[i]);
    return this.surprises[i];
  }

  /** How much the position that predicted token i attended to each token from `start` on, in one head. */
  attentionFor(i, layer, head) {
    if (i < 1) return null;
    const { start, end, attention } = this.computed(i);
    const size = end - start;
    const row = i - 1 - start;
    return { start, weights: attention[layer][head].slice(row * size, row * size + row + 1) };
  }

  /** The first i tokens, of which those that were written stay written. */
  cut(i) {
    const shorter = new Passage(this.page, this.ids.slice(0, i), Math.min(this.given, i));
    shorter.logits = this.logits.slice(0, i + 1);
    return shorter;
  }
}

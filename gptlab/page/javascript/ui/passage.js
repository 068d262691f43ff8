// A text as the model sees it: its tokens, the text of each, and what the model computed at each position.
import { forward, losses, surprise } from "../model.js";
import { Session } from "../session.js";

const MOST_NUMBERS = 3e7; // that are computed at once; a larger model is asked about one position at a time

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
    this.seen = null; // what `computed` found, for the whole text or for one position
    this.nats = null;
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
    this.nats = null;
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

  /** Whether the model is too large for all logits and attention weights of the text at once. */
  get large() {
    const { context, vocab_size, n_layer, n_head } = this.page.model.config;
    const size = Math.min(this.ids.length, context);
    return size * (vocab_size + n_layer * n_head * size) > MOST_NUMBERS;
  }

  /** What the model computed on the way to token i, in rows from `first` to before `end`.
   *
   * The tokens from `start` on were in its context: all of them, or the last ones where the text has outgrown it.
   */
  computed(i) {
    const { model } = this.page;
    const { context } = model.config;
    const start = this.ids.length <= context ? 0 : Math.max(0, i - context);
    if (this.seen && this.seen.start === start && this.seen.first < i && i <= this.seen.end) return this.seen;
    if (this.large) {
      const session = new Session(model);
      if (i - 1 > start) session.feed(this.ids.slice(start, i - 1));
      session.watch = true; // only the position that predicts token i
      const logits = session.feed([this.ids[i - 1]]);
      this.seen = { start, first: i - 1, end: i, logits, attention: session.attention, columns: i - start };
    } else {
      const end = Math.min(this.ids.length, start + context);
      const { logits, attention } = forward(model, this.ids.slice(start, end), { watch: true });
      this.seen = { start, first: start, end, logits, attention, columns: end - start };
    }
    return this.seen;
  }

  /** The logits of the prediction of token i; i may be the next one. There is none for the first. */
  logitsFor(i) {
    if (i < 1 || i > this.ids.length) return null;
    if (!this.logits[i]) {
      const { first, logits } = this.computed(i);
      const V = this.page.model.config.vocab_size;
      this.logits[i] = logits.slice((i - 1 - first) * V, (i - first) * V);
    }
    return this.logits[i];
  }

  /** −ln of the chance that token i had, in nats; null for the first, which nothing predicted. */
  surprise(i) {
    if (i < 1 || i >= this.ids.length) return null;
    if (this.surprises[i] === undefined) {
      if (this.large && !this.logits[i]) {
        this.nats ??= losses(this.page.model, this.ids);
        return this.nats[i - 1];
      }
      this.surprises[i] = surprise(this.logitsFor(i), this.ids[i]);
    }
    return this.surprises[i];
  }

  /** How much the position that predicted token i attended to each token from `start` on, in one head. */
  attentionFor(i, layer, head) {
    if (i < 1) return null;
    const { start, first, attention, columns } = this.computed(i);
    const row = i - 1 - first;
    return { start, weights: attention[layer][head].slice(row * columns, row * columns + i - start) };
  }

  /** The first i tokens, of which those that were written stay written. */
  cut(i) {
    const shorter = new Passage(this.page, this.ids.slice(0, i), Math.min(this.given, i));
    shorter.logits = this.logits.slice(0, i + 1);
    return shorter;
  }
}

// What the parts of the page share: the model, the text that is looked at, the settings, and who wants to know of changes.
import { byId } from "./dom.js";
import { tokenName } from "./token_names.js";

const TOP_K = [1, 2, 3, 4, 5, 8, 10, 15, 20, 30, 50, 100]; // the places of the slider; after the last come all tokens

/** Events: "passage" (another text), "token" (it has grown), "written" (writing has ended), "settings", "choose". */
export class PageState extends EventTarget {
  constructor(data, model, tokenizer) {
    super();
    Object.assign(this, { data, model, tokenizer });
    const { special = {}, characters } = data.tokenizer;
    const first = Array.from(characters ?? "").length; // a vocabulary of characters has its special tokens behind them
    const ids = Array.isArray(special) ? special.map((_, i) => first + i) : Object.values(special);
    this.special = new Set([...ids, tokenizer.end].filter(Number.isInteger));
    this.stops = new Set([tokenizer.end, ...(data.chat?.stops ?? [])].filter(Number.isInteger)); // what ends a text
    this.passage = null;
    this.chosen = 0; // the token that is looked into
    this.layer = 0;
    this.head = 0;
  }

  tell(name) {
    this.dispatchEvent(new Event(name));
  }

  on(name, listener) {
    this.addEventListener(name, listener);
  }

  isSpecial(id) {
    return this.special.has(id);
  }

  /** A name for any token, also for one that is no text by itself. */
  nameOf(id) {
    return id < this.tokenizer.vocabSize ? tokenName(this.tokenizer.tokenBytes(id)) : `‹${id}›`;
  }

  show(passage, chosen = passage.ids.length) {
    this.passage = passage;
    this.chosen = chosen;
    this.tell("passage");
  }

  choose(i) {
    this.chosen = i;
    this.tell("choose");
  }

  /** How the next token is chosen, as the sliders say. */
  get settings() {
    const place = Number(byId("top-k").value);
    return {
      temperature: Number(byId("temperature").value),
      topK: TOP_K[place] ?? null,
      topP: Number(byId("top-p").value),
    };
  }

  get seed() {
    const typed = Math.floor(Number(byId("seed").value));
    return Number.isFinite(typed) ? Math.min(Math.max(typed, 0), 2 ** 32 - 1) : 0;
  }

  get mostTokens() {
    const typed = Math.floor(Number(byId("length").value));
    return Number.isFinite(typed) ? Math.min(Math.max(typed, 1), 2000) : 200;
  }

  /** The ids of the beginning of a text, and what a person should know about it. */
  beginning(prompt) {
    const { tokenizer, model } = this;
    const { context } = model.config;
    const start = tokenizer.end === null || tokenizer.end === undefined ? [] : [tokenizer.end];
    // No token is longer than a few hundred characters, so what lies further back cannot be in the context.
    const read = prompt.length > PROMPT_CHARACTERS ? prompt.slice(-PROMPT_CHARACTERS) : prompt;
    const { ids: encoded, note } = this.encode(read);
    const ids = [...start, ...encoded];
    if (note) return { ids: start, note };
    if (ids.length === 0) {
      return { ids, note: "Type at least one character: this model has no token that begins a text by itself." };
    }
    if (ids.length > context || read !== prompt) {
      const count = read === prompt ? `${ids.length}` : `far more than ${context}`;
      return {
        ids: ids.slice(-context),
        note: `This is ${count} tokens, and the model reads at most ${context}. It sees the last ${context} of them; ` +
          "the rest is cut off.",
      };
    }
    if (!prompt) {
      return { ids, note: "Nothing to begin with, so the model begins a new text, after the token that ends the one before." };
    }
    return { ids, note: "" };
  }

  /** The ids of a text as ordinary characters, or a sentence that says why there are none. */
  encode(text) {
    try {
      return { ids: Array.from(this.tokenizer.encode(text)), note: "" };
    } catch (error) {
      return { ids: [], note: `This text cannot be read by the model: ${error.message}` };
    }
  }
}

const PROMPT_CHARACTERS = 20_000;

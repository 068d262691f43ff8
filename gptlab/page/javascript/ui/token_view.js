// A text as a row of tokens that can be reached with the keyboard, shaded and chosen.
import { element, quoted } from "./dom.js";

const READ_ME = "Point at a token, tap it, or move there with the arrow keys, to see its numbers.";
const KEYS = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity };

/** How token i of a passage looks: its classes, and its text with line breaks that can be seen. */
export function tokenLook(passage, i) {
  const piece = passage.pieces[i];
  const special = passage.page.isSpecial(passage.ids[i]);
  const kinds = ["t", i < passage.given ? "given" : "written", special ? "special" : piece ? "" : "partial"];
  return { kind: kinds.filter(Boolean).join(" "), shown: piece ? piece.replace(/\n/g, "↵\n") : passage.shown(i) };
}

/** The text of a token with what is coloured of it: not the space before a word, or a line could end in a coloured nothing. */
export function tokenParts(shown) {
  const [, before, word] = shown.match(/^( *)([^]*)$/);
  return word ? [before, element("span", { class: "w" }, word)] : [element("span", { class: "w" }, before)];
}

export class TokenView {
  /** @param place the element to fill
   *  @param describe a sentence for token i, for the line below the text
   *  @param readout that line
   *  @param choose called with i when a token is clicked; without it tokens can only be pointed at */
  constructor(place, { readout, describe, choose = null }) {
    Object.assign(this, { place, readout, describe, choose });
    this.passage = null;
    this.current = -1; // the token that the Tab key reaches
    this.chosen = -1;
    place.addEventListener("click", (event) => this.act(event, (i) => this.press(i)));
    place.addEventListener("pointerover", (event) => this.act(event, (i) => this.read(i)));
    place.addEventListener("focusin", (event) => this.act(event, (i) => this.read(i)));
    place.addEventListener("keydown", (event) => this.act(event, (i) => this.key(event, i)));
  }

  act(event, then) {
    const token = event.target.closest?.(".t");
    if (token) then(Number(token.dataset.i));
  }

  /** Shows a passage from its beginning. With `next`, one more place stands for the token that would come next. */
  show(passage, { next = false } = {}) {
    this.passage = passage;
    this.next = next;
    this.place.replaceChildren();
    this.spans = [];
    for (let i = 0; i < passage.ids.length; i += 1) this.append(i);
    if (next) this.appendNext();
    this.current = Math.min(Math.max(this.current, 0), this.spans.length - 1);
    this.spans[this.current]?.setAttribute("tabindex", "0");
    this.chosen = -1;
    this.lastRead = -1;
    if (this.readout) this.readout.textContent = READ_ME;
  }

  append(i) {
    const { passage } = this;
    const { kind, shown } = tokenLook(passage, i);
    this.add(i, kind, shown, passage.pieces[i].trim() ? null : quoted(passage.shown(i)));
  }

  appendNext() {
    this.add(this.passage.ids.length, "t next", "", "the next token");
  }

  add(i, kind, shown, label) {
    const role = this.choose ? "button" : "img";
    const attributes = { class: kind, role, tabindex: "-1", "data-i": i, "aria-label": label };
    const span = element("span", attributes, ...tokenParts(shown));
    if (role === "img" && !label) span.setAttribute("aria-label", shown.trim());
    if (this.choose) span.setAttribute("aria-pressed", "false");
    this.spans[i]?.remove();
    this.spans[i] = span;
    this.place.append(span);
  }

  /** Adds what the passage has got since; the place for the next token moves on. */
  grow() {
    if (this.spans.at(-1)?.classList.contains("next")) this.spans.pop().remove();
    for (let i = this.spans.length; i < this.passage.ids.length; i += 1) this.append(i);
    if (this.next) this.appendNext();
    if (!this.place.querySelector('[tabindex="0"]')) this.spans[0]?.setAttribute("tabindex", "0");
  }

  /** Shades token i by `value(i)`, from 0 to 1 or null, in a colour that the style sheet names. */
  shade(kind, value) {
    if (kind !== this.place.dataset.shade) this.refresh();
    this.place.dataset.shade = kind;
    this.spans.forEach((span, i) => {
      const v = value(i);
      span.style.setProperty("--v", v === null || v === undefined ? 0 : Math.min(1, Math.max(0, v)).toFixed(3));
    });
  }

  /** Gives tokens a class, those for which `test(i)` is true. */
  mark(name, test) {
    this.spans.forEach((span, i) => span.classList.toggle(name, Boolean(test(i))));
  }

  select(i) {
    for (const [at, on] of [[this.chosen, false], [i, true]]) {
      this.spans[at]?.setAttribute("aria-pressed", on);
      this.spans[at]?.classList.toggle("chosen", on);
    }
    this.chosen = i;
    this.moveTo(i, false);
  }

  moveTo(i, focus = true) {
    const span = this.spans[i];
    if (!span) return;
    this.place.querySelector('[tabindex="0"]')?.setAttribute("tabindex", "-1");
    span.setAttribute("tabindex", "0");
    this.current = i;
    if (!focus) return;
    this.read(i); // before a screen reader asks for it
    if (this.readout) span.setAttribute("aria-describedby", this.readout.id);
    span.focus();
  }

  press(i) {
    this.moveTo(i);
    if (this.choose) this.choose(i);
  }

  read(i) {
    this.lastRead = i;
    const sentence = this.describe(i);
    if (this.readout && sentence) this.readout.textContent = sentence;
  }

  /** Says again what was said last, if its number may have changed. */
  refresh() {
    if (this.lastRead >= 0 && this.lastRead < this.spans.length) this.read(this.lastRead);
  }

  key(event, i) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Enter" || event.key === " ") this.press(i);
    else if (event.key in KEYS) this.moveTo(Math.min(Math.max(i + KEYS[event.key], 0), this.spans.length - 1));
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") this.moveTo(this.nearest(i, event.key === "ArrowDown"));
    else return;
    event.preventDefault();
  }

  /** The token above or below token i. */
  nearest(i, below) {
    const from = this.spans[i].getBoundingClientRect();
    let best = i;
    let distance = Infinity;
    this.spans.forEach((span, at) => {
      const box = span.getBoundingClientRect();
      const down = below ? box.top - from.top : from.top - box.top;
      const away = 10 * down + Math.abs(box.left - from.left);
      if (down > from.height / 2 && away < distance) [best, distance] = [at, away];
    });
    return best;
  }
}

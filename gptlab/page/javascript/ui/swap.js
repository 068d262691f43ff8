// Swapping a fact: the story with one fact changed where it is first stated, and which later tokens the model now doubts.
import { readFable } from "../fables.js";
import { byId, element, percent, quoted } from "./dom.js";
import { Passage, ranked } from "./passage.js";
import { factInWords, storyPart } from "./story_check.js";
import { TokenView } from "./token_view.js";

const SHOWN = 8; // rows of the table

/** The text with one mark saying something else. */
function textWith(text, mark, words) {
  const characters = Array.from(text);
  return [...characters.slice(0, mark.start), ...words, ...characters.slice(mark.end)].join("");
}

/** For each token of the changed passage the token of the old one that it was, or -1: those behind the fact, by position. */
function alignTokens(old, changed, mark) {
  const shift = changed.length - old.length;
  const at = new Map(old.starts.map((start, i) => [`${start} ${old.ids[i]}`, i]));
  return changed.ids.map((id, i) => (changed.starts[i] - shift >= mark.end ? at.get(`${changed.starts[i] - shift} ${id}`) ?? -1 : -1));
}

class Swap {
  constructor(page) {
    this.page = page;
    this.choices = [];
    this.view = new TokenView(byId("swap-text"), { readout: byId("swap-readout"), describe: (i) => this.describe(i) });
    byId("swap-fact").addEventListener("change", () => {
      this.listValues();
      this.run();
    });
    byId("swap-value").addEventListener("change", () => this.run());
    page.on("passage", () => this.read());
    page.on("written", () => this.read());
    this.read();
  }

  /** Reads the story above and lists its facts. */
  read() {
    const { passage } = this.page;
    this.story = storyPart(this.page, passage);
    this.choices = readFable(this.story.text, this.page.data.fables).marks.filter((mark) => !mark.recalled);
    const before = byId("swap-fact").value;
    byId("swap-fact").replaceChildren(...this.choices.map((mark) =>
      element("option", { value: mark.fact }, `${factInWords(mark.fact)}: ${mark.text}`)));
    const wanted = [before, "hero.animal"].find((fact) => this.choices.some((mark) => mark.fact === fact));
    if (wanted) byId("swap-fact").value = wanted;
    this.listValues();
    this.clear();
  }

  get mark() {
    return this.choices.find((mark) => mark.fact === byId("swap-fact").value);
  }

  listValues() {
    const { mark } = this;
    const others = mark ? mark.texts.filter((text) => text !== mark.text) : [];
    byId("swap-value").replaceChildren(
      element("option", { value: "" }, "choose …"), ...others.map((text) => element("option", { value: text }, text)));
    for (const name of ["swap-fact", "swap-value"]) byId(name).disabled = this.choices.length === 0;
  }

  clear() {
    byId("swap-text").hidden = true;
    byId("swap-table").parentElement.hidden = true;
    byId("swap-readout").hidden = true;
    byId("swap-note").textContent = this.choices.length
      ? ""
      : "There is no fact to swap yet: write a story above first, one that begins as the fables do.";
  }

  run() {
    const { page } = this;
    let { mark } = this;
    const words = byId("swap-value").value;
    if (!mark || !words) {
      this.clear();
      return;
    }
    const old = page.passage;
    const { first, last, text, start } = this.story;
    const { ids, note } = page.encode(textWith(text, mark, words));
    const changed = new Passage(page, [...old.ids.slice(0, first), ...ids, ...old.ids.slice(last)], 0);
    if (note || Math.max(old.ids.length, changed.ids.length) > page.model.config.context) {
      this.clear();
      byId("swap-note").textContent = note || "This text is longer than the model’s context, so the two cannot be compared.";
      return;
    }
    mark = { ...mark, start: start + mark.start, end: start + mark.end };
    this.compare(old, changed, mark, words);
  }

  compare(old, changed, mark, words) {
    const was = alignTokens(old, changed, mark);
    const p = (passage, i) => Math.exp(-passage.surprise(i));
    this.changed = changed;
    this.moves = changed.ids.map((_, i) => (was[i] > 0 ? { i, before: p(old, was[i]), after: p(changed, i) } : null));
    for (const id of ["swap-text", "swap-readout"]) byId(id).hidden = false;
    this.view.show(changed);
    this.view.shade("swap", (i) => (this.moves[i] ? Math.abs(this.moves[i].after - this.moves[i].before) : null));
    this.view.mark("fell", (i) => this.moves[i] && this.moves[i].after < this.moves[i].before - 0.02);
    this.view.mark("rose", (i) => this.moves[i] && this.moves[i].after > this.moves[i].before + 0.02);
    this.view.mark("swapped", (i) => {
      const start = changed.starts[i];
      return was[i] < 0 && changed.pieces[i] && start < mark.start + words.length && start + changed.pieces[i].length > mark.start;
    });
    this.drawTable();
    const fell = this.moves.filter((move) => move && move.after < move.before - 0.1).length;
    const more = fell === 0 && !this.page.stops.has(old.ids.at(-1)) ? " The story is not finished: write it to its end first." : "";
    byId("swap-note").textContent = `“${mark.text}” became “${words}”. ${fell || "No"} later ${fell === 1 ? "token" : "tokens"} ` +
      `lost more than 10 points of probability.${more} ▼ marks what fell, ▲ what rose; the taller the bar, the more.`;
  }

  /** What the model now expects most at place i. */
  expected(i) {
    const logits = this.changed.logitsFor(i);
    const [best] = ranked(logits, 1);
    return { name: this.page.nameOf(best), same: best === this.changed.ids[i] };
  }

  drawTable() {
    const moved = this.moves.filter((move) => move && Math.abs(move.after - move.before) > 0.01);
    moved.sort((a, b) => Math.abs(b.after - b.before) - Math.abs(a.after - a.before));
    const rows = moved.slice(0, SHOWN).map(({ i, before, after }) => {
      const around = this.changed.pieces.slice(Math.max(0, i - 3), i).join("").trim();
      const expected = this.expected(i);
      return element(
        "tr", {},
        element("th", { scope: "row" }, quoted(this.changed.shown(i))),
        element("td", {}, `… ${around}`),
        element("td", { class: "figure" }, percent(before)),
        element("td", { class: "figure" }, `${after < before ? "▼" : "▲"} ${percent(after)}`),
        element("td", {}, expected.same ? "the same" : quoted(expected.name)),
      );
    });
    byId("swap-table").tBodies[0].replaceChildren(...rows);
    byId("swap-table").parentElement.hidden = rows.length === 0;
  }

  describe(i) {
    const move = this.moves?.[i];
    const name = quoted(this.changed.shown(i));
    if (!move) return `${name}: comes before the change, or is a part of it.`;
    const expected = this.expected(i);
    return `${name}: ${percent(move.before)} before, ${percent(move.after)} now` +
      (expected.same ? "." : `; now the model expects ${quoted(expected.name)}.`);
  }
}

export function setUpSwap(page) {
  return new Swap(page);
}

// Writing: a prompt, the text that grows token by token, and the line below it that says a token's number.
import { makeRandom } from "../random.js";
import { filteredProbabilities, sample } from "../sampling.js";
import { Session } from "../session.js";
import { byId, element, percent, quoted } from "./dom.js";
import { suggestToken } from "./inside.js";
import { Passage } from "./passage.js";
import { SlicedWork, debounced } from "./slices.js";
import { checkStory, touches } from "./story_check.js";
import { TokenView } from "./token_view.js";

const WATCHABLE = 35; // milliseconds from token to token, when somebody wants to watch
const MOST_NATS = 6; // the surprise that has the full colour

/** Writes on from some ids: calls `each(id, logits)` for every new token, and ends with `end`, `most` or the work's stop.
 *
 * @returns {Promise<string>} why it ended: "end", "length" or "stopped"
 */
export async function writeTokens(page, { ids, random, switches, most, work, wait = () => 0, each }) {
  const session = new Session(page.model, { switches });
  let logits = session.feed(ids);
  for (let count = 0; count < most; count += 1) {
    const id = sample(filteredProbabilities(logits, page.settings), random);
    each(id, logits);
    if (page.stops.has(id)) return "end";
    await work.breathe(wait());
    if (work.stopped) return "stopped";
    logits = session.feed([id]);
  }
  return "length";
}

class Writing {
  constructor(page) {
    this.page = page;
    this.work = null;
    this.random = makeRandom(page.seed);
    this.finished = false;
    this.spoken = 0; // characters that the live region has got
    this.view = new TokenView(byId("text"), {
      readout: byId("readout"),
      describe: (i) => this.describe(i),
      choose: (i) => page.choose(i),
    });
    byId("go").addEventListener("click", () => this.go());
    byId("stop").addEventListener("click", () => this.stop());
    byId("restart").addEventListener("click", () => this.restart());
    byId("write-on").addEventListener("click", () => this.writeOn());
    this.promptTyped = debounced(() => this.restart(), 120);
    byId("prompt").addEventListener("input", this.promptTyped);
    byId("seed").addEventListener("change", () => this.restart());
    page.on("passage", () => this.showPassage());
    page.on("choose", () => this.colour());
    page.on("head", () => this.colour());
    document.querySelectorAll('input[name="colour"]').forEach((input) => input.addEventListener("change", () => this.colour()));
    this.restart();
  }

  // ---- What the buttons do --------------------------------------------------------------------------------------

  /** Back to the prompt, with nothing written. */
  restart() {
    this.stop();
    const { ids, note } = this.page.beginning(byId("prompt").value);
    byId("prompt-note").textContent = note;
    this.random = makeRandom(this.page.seed);
    byId("spoken").replaceChildren();
    this.page.show(new Passage(this.page, ids));
  }

  go() {
    this.promptTyped.flush();
    if (this.work) return;
    if (this.finished) { // the same seed would give the same text again
      byId("seed").value = this.page.seed + 1;
      this.restart();
    }
    this.run();
  }

  /** From the token that is looked into, or from the end. */
  writeOn() {
    const { page } = this;
    this.stop();
    if (page.chosen < page.passage.ids.length) page.show(page.passage.cut(page.chosen));
    this.run();
  }

  stop() {
    if (!this.work) return;
    this.work.stop();
    this.work = null;
    this.ended("stopped");
  }

  async run() {
    const { page } = this;
    const { passage } = page;
    if (passage.ids.length === 0) {
      byId("prompt").focus();
      return;
    }
    if (page.stops.has(passage.ids.at(-1)) && passage.ids.length > 1) { // somebody chose the token that ends a text
      this.ended("end");
      return;
    }
    const work = new SlicedWork();
    this.work = work;
    this.drawButtons();
    const why = await writeTokens(page, {
      ids: passage.ids,
      random: this.random,
      most: page.mostTokens,
      work,
      wait: () => (byId("slowly").checked ? WATCHABLE : 0),
      each: (id, logits) => {
        passage.push(id, logits.slice());
        if (!work.stopped) this.grown();
      },
    });
    if (this.work !== work) return; // it was stopped, and perhaps something else has begun
    this.work = null;
    this.ended(why);
  }

  // ---- What is shown --------------------------------------------------------------------------------------------

  showPassage() {
    const { page } = this;
    this.work?.stop();
    this.work = null;
    this.finished = false;
    this.spoken = page.passage.length;
    this.view.show(page.passage, { next: true });
    this.explainBeginning();
    this.drawButtons();
    this.colour();
    this.check();
  }

  /** What the special tokens are that a reader sees before anything is pressed. */
  explainBeginning() {
    const { page } = this;
    const { ids } = page.passage;
    const { chat, fables } = page.data;
    const before = page.isSpecial(ids[0])
      ? `${page.nameOf(ids[0])} is a special token. In training it stood between two ${fables ? "stories" : "texts"}, ` +
        "so to the model it means that a new one begins."
      : "";
    const turns = chat && ids.includes(chat.user)
      ? ` ${page.nameOf(chat.user)} and ${page.nameOf(chat.assistant)} begin a message, ${page.nameOf(chat.end)} ends it.`
      : "";
    byId("beginning-note").textContent = before + turns;
  }

  grown() {
    const { page, view } = this;
    const follow = page.chosen === page.passage.ids.length - 1;
    if (follow) page.chosen = page.passage.ids.length;
    view.grow();
    if (follow) {
      view.chosen = -1;
      if (byId("slowly").checked) page.tell("token");
    }
    if (this.mode === "surprise") this.colour();
    this.check();
    this.speak(false);
  }

  ended(why) {
    const { page } = this;
    this.finished = why === "end" || why === "length";
    this.speak(true);
    this.drawButtons();
    if (why === "end" && page.chosen === page.passage.ids.length) { // nothing comes after the end: look at another token
      const worth = suggestToken(page);
      if (worth > 0) page.chosen = worth;
    }
    page.tell("written");
    this.colour();
  }

  drawButtons() {
    const running = this.work !== null;
    const started = this.page.passage && this.page.passage.ids.length > this.page.passage.given;
    const story = this.page.data.fables ? "a story" : "a text";
    byId("go").textContent = this.finished ? `Write another ${story.slice(2)}` : started ? "Write on" : `Write ${story}`;
    byId("go").disabled = running;
    byId("stop").disabled = !running;
    byId("text").classList.toggle("running", running);
  }

  /** Whole sentences for a screen reader, each as soon as it is complete. */
  speak(rest) {
    const fresh = Array.from(this.page.passage.text).slice(this.spoken).join("");
    const complete = rest ? fresh : (fresh.match(/^[^]*[.!?:]["”]?(?=\s)/)?.[0] ?? "");
    if (!complete.trim()) return;
    byId("spoken").append(element("span", {}, complete));
    this.spoken += Array.from(complete).length;
  }

  check() {
    const { page, view } = this;
    if (!page.data.fables) return;
    const finding = checkStory(page, page.passage);
    byId("check").dataset.kind = finding.kind;
    if (byId("check").textContent !== finding.sentence) byId("check").textContent = finding.sentence;
    view.mark("wrong", (i) => i < page.passage.ids.length && touches(page.passage, i, finding));
  }

  get mode() {
    return document.querySelector('input[name="colour"]:checked').value;
  }

  colour() {
    const { page, view } = this;
    const { passage, chosen } = page;
    const running = this.work !== null;
    if (view.chosen !== chosen) view.select(chosen);
    view.mark("from", (i) => this.mode === "attention" && i === chosen - 1);
    if (this.mode === "surprise") {
      // While the text grows only what is known already is coloured: the rest costs another pass.
      const known = (i) => !running || passage.logits[i];
      view.shade("surprise", (i) => (i > 0 && i < passage.ids.length && known(i) ? passage.surprise(i) / MOST_NATS : null));
    } else if (this.mode === "attention" && chosen > 0 && !running) {
      const row = passage.attentionFor(chosen, page.layer, page.head);
      view.shade("attention", (i) => (i >= row.start && i < chosen ? Math.sqrt(row.weights[i - row.start]) : null));
    } else {
      view.shade("none", () => null);
    }
    this.drawScale();
  }

  drawScale() {
    const steps = { surprise: [0, 1.5, 3, 4.5, 6], attention: [0, 0.0625, 0.25, 0.5625, 1], none: [] }[this.mode];
    const label = (v) => (this.mode === "surprise" ? `${v}` : percent(v));
    byId("scale").dataset.shade = this.mode;
    byId("scale").replaceChildren(...steps.map((v, i) =>
      element("span", { class: "w", style: `--v:${i / (steps.length - 1)}` }, label(v))));
    byId("scale-text").textContent = {
      surprise: "In nats: 0 is certain, 3 was a chance of 1 in 20, 6 one in 400. The taller the bar, the greater the surprise.",
      attention: `The share of the attention of head ${this.page.head + 1} in layer ${this.page.layer + 1}. ` +
        "The token in the dashed frame attends, to predict the one in the full frame.",
      none: "",
    }[this.mode];
  }

  describe(i) {
    const { page } = this;
    const { passage } = page;
    if (i >= passage.ids.length) return "The next token: choose it to see what the model expects.";
    const name = `${quoted(passage.shown(i))}, id ${passage.ids[i]}`;
    if (this.mode === "attention" && page.chosen > 0 && i < page.chosen) {
      const row = passage.attentionFor(page.chosen, page.layer, page.head);
      if (i >= row.start) return `${name}: gets ${percent(row.weights[i - row.start])} of this head’s attention.`;
    }
    if (i === 0) {
      return page.isSpecial(passage.ids[0])
        ? `${name}: the special token that ends a text. A new one begins after it.`
        : `${name}: the first token, which nothing predicts.`;
    }
    const loss = passage.surprise(i);
    return `${name}: the model gave it ${percent(Math.exp(-loss))}, a loss of ${loss.toFixed(2)} nats.`;
  }
}

export function setUpWriting(page) {
  byId("prompt").value = page.data.prompt ?? "";
  byId("slowly").checked = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  return new Writing(page);
}

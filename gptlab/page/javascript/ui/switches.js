// Switching parts off: the same beginning, seed and settings, written by the whole model and by a damaged one.
import { losses } from "../model.js";
import { makeRandom } from "../random.js";
import { byId, element } from "./dom.js";
import { Passage } from "./passage.js";
import { SlicedWork, debounced } from "./slices.js";
import { checkStory, touches } from "./story_check.js";
import { writeTokens } from "./write.js";

/** A switch: a button that is pressed while the part is off. */
function makeSwitch(label, name, flip) {
  const button = element("button", { type: "button", class: "switch", "aria-pressed": "false", "aria-label": `${name} off` }, label);
  button.addEventListener("click", () => {
    const off = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", off);
    flip(off);
  });
  return button;
}

class SwitchBoard {
  constructor(page) {
    this.page = page;
    this.heads = new Set();
    this.layers = new Set();
    this.off = new Set(); // "positions", "convolution"
    this.work = null;
    this.build();
    this.soon = debounced(() => this.run(), 80);
    byId("switch-clear").addEventListener("click", () => this.clear());
    byId("switch-stop").addEventListener("click", () => this.work?.stop());
    this.explain();
  }

  build() {
    const { config } = this.page.model;
    const board = byId("switch-board");
    const flip = (set, what) => (off) => {
      if (off) set.add(what);
      else set.delete(what);
      this.soon();
    };
    for (let layer = 0; layer < config.n_layer; layer += 1) {
      const row = element("div", { class: "switch-row", role: "group", "aria-label": `Layer ${layer + 1}` });
      row.append(makeSwitch(`Layer ${layer + 1}`, `Layer ${layer + 1}`, flip(this.layers, layer)));
      const heads = element("span", { class: "switch-heads" }, element("span", { class: "small" }, "heads"));
      for (let head = 0; head < config.n_head; head += 1) {
        heads.append(makeSwitch(`${head + 1}`, `Layer ${layer + 1}, head ${head + 1}`, flip(this.heads, `${layer}.${head}`)));
      }
      row.append(heads);
      board.append(row);
    }
    const rest = element("div", { class: "switch-row", role: "group", "aria-label": "In all layers" });
    if (config.position !== "none") rest.append(makeSwitch("Positions", "Positions", flip(this.off, "positions")));
    if (config.convolution) rest.append(makeSwitch("Convolution", "Convolution", flip(this.off, "convolution")));
    if (rest.children.length) board.append(rest);
  }

  clear() {
    for (const set of [this.heads, this.layers, this.off]) set.clear();
    byId("switch-board").querySelectorAll("button").forEach((button) => button.setAttribute("aria-pressed", "false"));
    this.soon();
  }

  get switches() {
    return {
      heads: new Set(this.heads),
      layers: new Set(this.layers),
      positions: !this.off.has("positions"),
      convolution: !this.off.has("convolution"),
    };
  }

  /** What is off, in words; "" for nothing. */
  get names() {
    const heads = [...this.heads].map((key) => key.split(".").map(Number)).filter(([layer]) => !this.layers.has(layer));
    return [
      ...[...this.layers].sort().map((layer) => `layer ${layer + 1}`),
      ...heads.map(([layer, head]) => `head ${head + 1} of layer ${layer + 1}`),
      ...(this.off.has("positions") ? ["the positions"] : []),
      ...(this.off.has("convolution") ? ["the convolution"] : []),
    ].join(", ");
  }

  explain() {
    byId("switch-note").textContent = "Everything is on. Switch a part off, and both texts are written again.";
  }

  async run() {
    const { page } = this;
    this.work?.stop();
    const work = new SlicedWork();
    this.work = work;
    const { ids, note } = page.beginning(byId("prompt").value);
    if (ids.length === 0) {
      byId("switch-note").textContent = note;
      return;
    }
    byId("switch-stop").disabled = false;
    byId("switch-texts").hidden = false;
    const { switches, names } = this;
    byId("damaged-title").textContent = names ? `Without ${names}` : "With nothing switched off";
    const whole = await this.write("whole", ids, {}, work);
    const damaged = work.stopped ? null : await this.write("damaged", ids, switches, work, whole);
    if (this.work !== work) return; // another switch was pressed meanwhile
    byId("switch-stop").disabled = true;
    if (!damaged) return;
    const mean = (given) => {
      const found = losses(page.model, whole.ids, given);
      return found.reduce((a, b) => a + b, 0) / found.length;
    };
    const same = `${damaged.ids}` === `${whole.ids}` ? "Both texts are the same, so this one did not depend on what is off. " : "";
    byId("switch-note").textContent = names
      ? `${same}On the text “As it is”, the loss goes from ${mean({}).toFixed(2)} to ${mean({ switches }).toFixed(2)} nats per token.`
      : "Everything is on, so both texts are the same.";
  }

  async write(side, ids, switches, work, other = null) {
    const { page } = this;
    const passage = new Passage(page, ids);
    const draw = () => this.draw(side, passage, other);
    let drawn = performance.now();
    await writeTokens(page, {
      ids, switches, work, random: makeRandom(page.seed),
      most: Math.min(page.mostTokens, Math.max(1, page.model.config.context - ids.length)), // a broken model may never end
      each: (id) => {
        passage.push(id);
        if (performance.now() - drawn > 50) {
          draw();
          drawn = performance.now();
        }
      },
    });
    if (this.work === work) draw();
    return passage;
  }

  draw(side, passage, other) {
    const { page } = this;
    const finding = page.data.fables ? checkStory(page, passage) : { kind: "none", sentence: "" };
    const parts = passage.pieces.map((piece, i) => [piece, touches(passage, i, finding) ? "wrong" : ""]);
    const differs = other ? passage.ids.findIndex((id, i) => i >= passage.given && id !== other.ids[i]) : -1;
    const nodes = parts.map(([piece, kind], i) => {
      const given = i < passage.given ? "given" : "";
      const changed = differs >= 0 && i >= differs ? "changed" : "";
      const node = element("span", { class: [kind, given, changed].filter(Boolean).join(" ") || null }, piece);
      return i === differs ? [element("span", { class: "fork", title: "From here on the texts differ" }, "▸"), node] : [node];
    });
    byId(`text-${side}`).replaceChildren(...nodes.flat());
    byId(`check-${side}`).textContent = finding.sentence;
    byId(`check-${side}`).dataset.kind = finding.kind;
  }
}

export function setUpSwitches(page) {
  return new SwitchBoard(page);
}

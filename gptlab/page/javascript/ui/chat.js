// A conversation with a fine-tuned model. As in gptlab/chat_template.py: each message is encoded by itself, as ordinary
// text, so what a person types never becomes a special token.
import { readFable } from "../fables.js";
import { makeRandom } from "../random.js";
import { byId, element } from "./dom.js";
import { Passage } from "./passage.js";
import { SlicedWork } from "./slices.js";
import { writeTokens } from "./write.js";

class ChatBox {
  constructor(page) {
    this.page = page;
    this.template = page.data.chat;
    byId("chat-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.say(byId("chat-input").value);
    });
    byId("chat-input").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.say(byId("chat-input").value);
    });
    byId("chat-stop").addEventListener("click", () => this.work?.stop());
    byId("chat-reset").addEventListener("click", () => this.reset());
    byId("chat-inspect").addEventListener("click", () => this.inspect());
    byId("chat-input").value = this.template.example ?? "";
    this.reset();
  }

  reset() {
    this.work?.stop();
    this.turns = []; // the ids of each request and its answer, with their special tokens
    this.random = makeRandom(this.page.seed);
    byId("chat-log").replaceChildren();
    byId("chat-input").placeholder = "";
    byId("chat-note").textContent = "";
    byId("chat-inspect").disabled = true;
  }

  /** The ids of a request, up to where the answer begins. */
  request(text) {
    const { user, assistant, end } = this.template;
    const { ids, note } = this.page.encode(text);
    return { ids: [user, ...ids, end, assistant], note };
  }

  get begin() {
    const { begin } = this.template;
    return begin === null || begin === undefined ? [] : [begin];
  }

  /** Forgets the oldest messages until the others leave room for one more token; the ids to continue come back. */
  makeRoom(asked, said) {
    while (true) {
      const ids = [...this.begin, ...this.turns.flat(), ...asked, ...said];
      if (ids.length < this.page.model.config.context) return ids;
      if (this.turns.length === 0) return null;
      this.turns.shift();
      byId("chat-note").textContent =
        "The conversation has outgrown what the model can read, so its oldest messages are forgotten.";
    }
  }

  async say(text) {
    if (this.work) return;
    byId("chat-note").textContent = "";
    if (!text.trim()) {
      byId("chat-note").textContent = "Type a message first.";
      return;
    }
    const { context } = this.page.model.config;
    const { ids: asked, note } = text.length > 20_000 ? { ids: Array(context), note: "" } : this.request(text);
    if (note || this.begin.length + asked.length >= context) {
      byId("chat-note").textContent = note ||
        `This message leaves no room for an answer: the model reads at most ${context} tokens. Say it in fewer words.`;
      return;
    }
    byId("chat-input").value = "";
    this.bubble("user", text);
    await this.answer(asked);
  }

  async answer(asked) {
    const { page } = this;
    const answer = new Passage(page, [], 0);
    const place = this.bubble("assistant", "");
    const work = new SlicedWork();
    this.work = work;
    this.running(true);
    let why = "length";
    let ids = this.makeRoom(asked, []);
    while (why === "length" && ids) {
      why = await writeTokens(page, {
        ids, random: this.random, work,
        most: page.model.config.context - ids.length,
        each: (id) => {
          answer.push(id);
          place.textContent = answer.text;
          byId("chat-log").scrollTop = byId("chat-log").scrollHeight;
        },
      });
      if (why === "length") ids = this.makeRoom(asked, answer.ids);
    }
    const done = why === "end" ? answer.ids : [...answer.ids, this.template.end];
    this.work = null;
    this.running(false);
    if (!place.isConnected) return; // a new conversation was begun meanwhile
    if (why === "length") byId("chat-note").textContent = "The answer filled the model’s context, so it stops here.";
    if (!answer.text.trim()) place.textContent = "…";
    this.turns.push([...asked, ...done]);
    this.suggest(answer.text);
  }

  /** What could be asked next about a story. */
  suggest(text) {
    const { fables } = this.page.data;
    const thing = fables && readFable(text, fables).facts.thing;
    if (thing) byId("chat-input").placeholder = `For example: Who found the ${thing}?`;
  }

  running(on) {
    byId("chat-send").disabled = on;
    byId("chat-stop").disabled = !on;
    byId("chat-inspect").disabled = on;
  }

  bubble(role, text) {
    const words = element("p", {}, text);
    const name = role === "user" ? "You" : "Model";
    byId("chat-log").append(element("div", { class: `bubble ${role}` }, element("span", { class: "small" }, name), words));
    byId("chat-log").scrollTop = byId("chat-log").scrollHeight;
    return words;
  }

  /** The whole conversation, special tokens included, as the text to look into. */
  inspect() {
    const ids = [...this.begin, ...this.turns.flat()];
    if (ids.length === this.begin.length) return;
    const last = this.turns.at(-1);
    const given = ids.length - (last.length - last.lastIndexOf(this.template.assistant) - 1);
    this.page.show(new Passage(this.page, ids, given), given);
    byId("prompt-note").textContent = "Below is the conversation. “Start again” goes back to this beginning.";
    byId("write").scrollIntoView();
    byId("text").querySelector('[tabindex="0"]')?.focus({ preventScroll: true });
  }
}

export function setUpChat(page) {
  return new ChatBox(page);
}

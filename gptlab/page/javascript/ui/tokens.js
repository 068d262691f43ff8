// The tokens of any text, as chips with their ids.
import { byId, counted, element, quoted, tokenNodes } from "./dom.js";
import { bytesInHex, visibleText } from "./token_names.js";
import { SlicedWork, debounced, pause } from "./slices.js";

const MOST_CHARACTERS = 20_000; // that are split, and
const MOST_CHIPS = 1_000; // tokens that are shown: more would take the browser longer than a person wants to wait
const CHIPS_AT_ONCE = 60;

function chip(page, id, number) {
  const bytes = page.tokenizer.tokenBytes(id);
  const text = visibleText(bytes);
  const whole = text !== null;
  const name = text ?? bytesInHex(bytes);
  const kind = `chip c${number % 4}${whole ? "" : " bytes"}`;
  const title = whole ? `${quoted(name)}, id ${id}` : `${bytes.length === 1 ? "byte" : "bytes"} ${name}, id ${id}`;
  return element("li", { class: kind, title },
    element("span", { class: "name" }, ...tokenNodes(name)), element("span", { class: "id" }, `${id}`));
}

let drawing = null; // the chips that are being added

/** Adds chips a few at a time, until other ones are wanted. */
async function addChips(page, ids) {
  drawing?.stop();
  const work = new SlicedWork();
  drawing = work;
  byId("chips").replaceChildren();
  for (let start = 0; start < ids.length && !work.stopped; start += CHIPS_AT_ONCE) {
    const some = ids.slice(start, start + CHIPS_AT_ONCE);
    byId("chips").append(...some.map((id, i) => chip(page, id, start + i)));
    await pause();
  }
}

function drawChips(page) {
  const text = byId("any-text").value;
  const read = text.slice(0, MOST_CHARACTERS).replace(/[\ud800-\udbff]$/, "");
  const { ids, note } = page.encode(read);
  addChips(page, ids.slice(0, MOST_CHIPS));
  byId("chips").hidden = ids.length === 0;
  if (note || !text) {
    byId("any-note").textContent = note || "No text, no tokens.";
    return;
  }
  const characters = Array.from(read).length;
  const count = `${counted(characters)} ${characters === 1 ? "character" : "characters"}, ${counted(ids.length)} ` +
    `${ids.length === 1 ? "token" : "tokens"}: ${(characters / ids.length).toFixed(1)} characters per token.`;
  const cut = read.length < text.length ? ` Only the first ${counted(MOST_CHARACTERS)} of ${counted(text.length)} characters are split.` : "";
  const hidden = ids.length > MOST_CHIPS ? ` The first ${counted(MOST_CHIPS)} tokens are shown.` : "";
  byId("any-note").textContent = count + cut + hidden;
}

export function setUpTokens(page) {
  const [first] = (page.data.prompt ?? "").match(/^[^]*?[.!?](?=\s|$)/) ?? [page.data.prompt];
  byId("any-text").value = first || "Hello, world! Straße, 漢字, 🦊";
  const soon = debounced(() => drawChips(page), 60);
  byId("any-text").addEventListener("input", soon);
  drawChips(page);
}

// What could stand at a place: the most probable tokens as bars, before and after temperature, top-k and top-p.
import { filteredProbabilities } from "../sampling.js";
import { element, percent, quoted, tokenNodes } from "./dom.js";
import { ranked } from "./passage.js";

const BARS = 8;

function bar(kind, p) {
  return element("span", { class: `bar ${kind}`, style: `width:${(100 * p).toFixed(2)}%` });
}

/** Fills a list with bars: the pale one is the model's own probability, the full one what sampling makes of it.
 *
 * @param {object} page
 * @param {HTMLElement} list
 * @param {Float32Array} logits - of the prediction
 * @param {?number} stands - the token that stands there, or null where none does yet
 * @param {function(number): void} put - called with the token that somebody wants there
 */
export function drawBars(page, list, logits, stands, put) {
  const before = filteredProbabilities(logits);
  const after = filteredProbabilities(logits, page.settings);
  const order = ranked(before, before.length);
  const ids = order.slice(0, BARS);
  if (stands !== null && !ids.includes(stands)) ids.push(stands);
  const focused = list.contains(document.activeElement) ? Number(document.activeElement.dataset.id) : null;
  list.replaceChildren(...ids.map((id) => {
    const name = page.nameOf(id);
    const rank = order.indexOf(id) + 1;
    const here = id === stands;
    const spoken = `${quoted(name)}: ${percent(after[id])} with these settings, ${percent(before[id])} from the model` +
      `${here ? "; it is the one here" : "; put it here"}`;
    const button = element(
      "button",
      { type: "button", "data-id": id, "aria-label": spoken, title: here ? null : "Put this token here", class: "pick" },
      element("span", { class: `name${page.isSpecial(id) ? " special" : ""}` }, ...tokenNodes(name)),
      element("span", { class: "track" }, bar("before", before[id]), bar("after", after[id])),
      element("span", { class: "number" }, percent(after[id])),
    );
    if (here) button.querySelector(".name").append(element("span", { class: "stands" }, rank > BARS ? `✓ no. ${rank}` : "✓"));
    button.addEventListener("click", () => put(id));
    return element("li", { class: here ? "here" : null }, button);
  }));
  if (focused !== null) (list.querySelector(`[data-id="${focused}"]`) ?? list.querySelector("button")).focus({ preventScroll: true });
  return { before, after };
}

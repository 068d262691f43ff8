// The text once more beside the heads, for a narrow screen, where the text itself is far above them. A screen reader has
// the text already, and the sentence below the heads.
import { byId, element } from "./dom.js";
import { tokenLook, tokenParts } from "./token_view.js";

const NARROW = "not all and (min-width: 60rem)"; // as in the style sheet, which shows it only there

/** Shades each token by how much the chosen place attends to it, and brings the most attended one into sight. */
function drawStrip(page) {
  const { passage, chosen, layer, head } = page;
  const strip = byId("strip");
  strip.hidden = chosen < 1;
  if (strip.hidden || !matchMedia(NARROW).matches) return;
  const { start, weights } = passage.attentionFor(chosen, layer, head);
  const most = start + weights.indexOf(Math.max(...weights));
  const spans = passage.ids.slice(start).map((_, n) => {
    const { kind, shown } = tokenLook(passage, start + n);
    const share = Math.sqrt(weights[n] ?? 0).toFixed(3); // what stands behind the chosen place is not attended to
    const span = element("span", { class: kind, style: `--v:${share}`, "data-i": start + n }, ...tokenParts(shown));
    span.classList.toggle("chosen", start + n === chosen);
    return span;
  });
  if (chosen === passage.ids.length) spans.push(element("span", { class: "t next chosen" }, element("span", { class: "w" })));
  strip.replaceChildren(...(start > 0 ? ["… "] : []), ...spans); // the model no longer sees what stood before
  const at = spans[most - start];
  strip.scrollTop = at.offsetTop - (strip.clientHeight - at.offsetHeight) / 2;
}

export function setUpStrip(page) {
  const draw = () => drawStrip(page);
  byId("strip").dataset.shade = "attention";
  byId("strip").addEventListener("click", (event) => {
    const token = event.target.closest("[data-i]");
    if (token) page.choose(Number(token.dataset.i));
  });
  for (const name of ["passage", "choose", "written", "head"]) page.on(name, draw);
  matchMedia(NARROW).addEventListener("change", draw);
  draw();
}

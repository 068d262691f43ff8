// Looking inside: what the model expected at a place, and which tokens each head attended to on the way.
import { drawBars } from "./bars.js";
import { byId, element, percent, quoted } from "./dom.js";
import { Passage, ranked } from "./passage.js";

/** A head's weights as a tiny picture, one column a token. */
function sparkline(weights) {
  const size = weights.length;
  const path = Array.from(weights, (w, t) => `M${t + 0.5} 1V${(1 - Math.max(w, 0.02)).toFixed(3)}`).join("");
  const namespace = "http://www.w3.org/2000/svg";
  const picture = document.createElementNS(namespace, "svg");
  for (const [name, value] of [["viewBox", `0 0 ${size} 1`], ["preserveAspectRatio", "none"], ["aria-hidden", "true"]]) {
    picture.setAttribute(name, value);
  }
  const line = document.createElementNS(namespace, "path");
  line.setAttribute("d", path);
  picture.append(line);
  return picture;
}

/** The tokens that a head attended to most, in words. */
function mostAttended(passage, { start, weights }, count) {
  return ranked(weights, count)
    .filter((t) => weights[t] >= 0.05)
    .map((t) => `${quoted(passage.shown(start + t))} with ${percent(weights[t])}`);
}

function drawWhere(page, chosen) {
  const { passage } = page;
  const before = passage.ids.slice(0, chosen).map((_, i) => passage.shown(i)).slice(-6).join("").replace(/^[.,;:!?]+ */, "");
  const where = byId("inside-where");
  if (chosen === 0) {
    where.textContent = "Nothing comes before the first token, so nothing predicts it. Choose a later one.";
  } else if (chosen === passage.ids.length) {
    where.replaceChildren("What comes after ", element("q", {}, `…${before}`), "?");
  } else {
    where.replaceChildren(
      "After ", element("q", {}, `…${before}`), " comes ", element("b", {}, quoted(passage.shown(chosen))),
      ". What else could have come next?",
    );
  }
}

function drawExpected(page, chosen) {
  const { passage } = page;
  const list = byId("bars");
  const note = byId("bars-note");
  const logits = passage.logitsFor(chosen);
  if (!logits) {
    list.replaceChildren();
    note.textContent = "";
    return;
  }
  const stands = chosen < passage.ids.length ? passage.ids[chosen] : null;
  const { before } = drawBars(page, list, logits, stands, (id) => putToken(page, chosen, id));
  note.textContent = stands === null
    ? "␣ is a space. Click a token to put it there."
    : `${quoted(passage.shown(chosen))} had a chance of ${percent(before[stands])}, which is a loss of ` +
      `${passage.surprise(chosen).toFixed(2)} nats. Click another token to put it there instead, and the text ends with it.`;
}

/** Another token at a place; what stood behind it no longer follows from anything, so it goes. */
function putToken(page, chosen, id) {
  const { passage } = page;
  const shorter = passage.cut(chosen);
  const changed = new Passage(page, [...shorter.ids, id], Math.min(passage.given, chosen));
  changed.logits = shorter.logits;
  page.show(changed);
}

function drawHeads(page) {
  const { passage, chosen, layer } = page;
  const place = byId("heads");
  const note = byId("attention-note");
  if (chosen < 1) {
    place.replaceChildren();
    note.textContent = "";
    return;
  }
  const focused = place.contains(document.activeElement);
  place.replaceChildren();
  for (let head = 0; head < page.model.config.n_head; head += 1) {
    const row = passage.attentionFor(chosen, layer, head);
    const most = mostAttended(passage, row, 1)[0] ?? "spread out thinly";
    const pressed = head === page.head;
    const button = element(
      "button",
      { type: "button", class: "head", "aria-pressed": `${pressed}`, "aria-label": `Head ${head + 1}: ${most}`, title: most },
      element("span", {}, `${head + 1}`),
      sparkline(row.weights),
    );
    button.addEventListener("click", () => {
      page.head = head;
      page.headByHand = true;
      document.querySelector('input[name="colour"][value="attention"]').checked = true;
      page.tell("head");
    });
    place.append(button);
    if (focused && pressed) button.focus();
  }
  const row = passage.attentionFor(chosen, layer, page.head);
  const most = mostAttended(passage, row, 3);
  const target = chosen < passage.ids.length ? quoted(passage.shown(chosen)) : "the next token";
  note.textContent = `To predict ${target}, head ${page.head + 1} of layer ${layer + 1} ` +
    (most.length ? `attended to ${most.join(", ")}.` : "attended to many tokens, to none with more than 5%.");
}

function drawInside(page) {
  if (!page.passage || page.passage.ids.length === 0) {
    byId("inside-where").textContent = "There is no text yet. Type a beginning.";
    for (const id of ["bars", "heads"]) byId(id).replaceChildren();
    for (const id of ["bars-note", "attention-note"]) byId(id).textContent = "";
    return;
  }
  const atEnd = page.chosen === page.passage.ids.length;
  byId("write-on").hidden = page.chosen < 1;
  byId("write-on").textContent = atEnd ? "Write on" : "Write on from here";
  byId("to-next").hidden = atEnd;
  drawWhere(page, page.chosen);
  drawExpected(page, page.chosen);
  drawHeads(page);
}

/** A token that is worth a look, once a text is written: one that repeats an earlier token, or the most surprising one.
 *
 * With it goes the head that attends most to the earlier one, unless somebody has chosen a head.
 */
export function suggestToken(page) {
  const { passage } = page;
  const { n_layer, n_head } = page.model.config;
  const written = passage.ids.map((_, i) => i).slice(Math.max(1, passage.given)).filter((i) => !page.isSpecial(passage.ids[i]));
  let best = { i: written.length ? written.reduce((a, b) => (passage.surprise(b) > passage.surprise(a) ? b : a)) : -1, weight: 0 };
  const cheap = passage.ids.length <= page.model.config.context && !passage.large;
  for (const i of cheap ? written : []) {
    if (passage.pieces[i].trim().length < 3) continue; // a full stop repeats every other one
    const earlier = passage.ids.lastIndexOf(passage.ids[i], i - 3);
    if (earlier < 0) continue;
    for (let layer = 0; layer < n_layer; layer += 1) {
      for (let head = 0; head < n_head; head += 1) {
        const { weights } = passage.attentionFor(i, layer, head);
        if (weights[earlier] > best.weight) best = { i, weight: weights[earlier], layer, head };
      }
    }
  }
  if (best.layer !== undefined && !page.headByHand) {
    page.layer = best.layer;
    page.head = best.head;
    document.querySelectorAll('input[name="layer"]').forEach((input) => (input.checked = Number(input.value) === best.layer));
  }
  return best.i;
}

export function setUpInside(page) {
  const { n_layer, n_head } = page.model.config;
  page.layer = n_layer - 1;
  page.head = Math.min(page.head, n_head - 1);
  for (let layer = 0; layer < n_layer; layer += 1) {
    const input = element("input", { type: "radio", name: "layer", value: layer, checked: layer === page.layer });
    input.addEventListener("change", () => {
      page.layer = layer;
      page.headByHand = true;
      page.tell("head");
    });
    byId("layers").append(element("label", {}, input, element("span", {}, `Layer ${layer + 1}`)));
  }
  for (const name of ["passage", "choose", "written"]) page.on(name, () => drawInside(page));
  page.on("head", () => page.chosen >= 1 && drawHeads(page));
  page.on("settings", () => page.passage?.ids.length && drawExpected(page, page.chosen));
  page.on("token", () => { // while somebody watches: what the newest token was chosen from
    drawWhere(page, page.passage.ids.length - 1);
    drawExpected(page, page.passage.ids.length - 1);
  });
  byId("to-next").addEventListener("click", () => page.choose(page.passage.ids.length));
}

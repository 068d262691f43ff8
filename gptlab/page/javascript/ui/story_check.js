// For fables: whether a story contradicts itself, in words and as marks on its tokens.
import { readFable } from "../fables.js";

const WHO = { hero: "the first animal", friend: "the neighbour", finder: "the finder", other: "the other animal" };
const WHAT = { name: "name", trait: "character", kind: "kind" };
const NAMED = {
  home: "the place", "home.look": "the look of the place", thing: "the thing", "thing.look": "the look of the thing",
  "thing.use": "what one does with the thing", weather: "the weather", "weather.noun": "the weather", spot: "the spot",
  opening: "the opening", neighbour: "where the neighbour lives", finder: "who finds the thing",
  "hero.animal": "the first animal", "friend.animal": "the neighbour",
};

/** A fact in words: "hero.animal" is the first animal’s kind. */
export function factInWords(fact) {
  if (fact in NAMED) return NAMED[fact];
  const [who, what] = fact.split(".");
  return who in WHO && what in WHAT ? `${WHO[who]}’s ${WHAT[what]}` : fact;
}

/** What is wrong, as a sentence. */
export function contradictionInWords({ fact, expected, found }, facts) {
  if (expected.startsWith("another than")) {
    const other = fact.endsWith(".animal") ? "the first animal" : "the first animal’s";
    return `${factInWords(fact)} should differ from ${other}, but both are “${found}”`;
  }
  if (/ \((\w+)\)$/.test(expected)) { // a branch: "word (value)"
    const [, word] = expected.match(/^(.*) \(\w+\)$/);
    const [, foundWord] = found.match(/^(.*) \(\w+\)$/);
    return `${facts["finder.name"]} is ${facts["finder.trait"]}, so the story has to go on with “${word} …”, ` +
      `but it says “${foundWord} …”`;
  }
  const [role, quality] = fact.split(".");
  const name = facts[`${role}.name`];
  if (name && quality === "animal") return `${name} is a “${expected}”, but here it says “${found}”`;
  if (name && quality === "trait") return `${name} is “${expected}”, but here it says “${found}”`;
  return `${factInWords(fact)} is “${expected}”, but here it says “${found}”`;
}

/** The part of a passage that tells a story: tokens from `first` to before `last`, between two special tokens.
 *
 * A text is all story but for its end; a conversation has it in one of its answers.
 */
export function storyPart(page, passage) {
  const parts = [];
  let first = 0;
  for (let i = 0; i <= passage.ids.length; i += 1) {
    if (i < passage.ids.length && !page.isSpecial(passage.ids[i])) continue;
    if (i > first) parts.push({ first, last: i, text: passage.pieces.slice(first, i).join(""), start: passage.starts[first] });
    first = i + 1;
  }
  const openings = Object.keys(page.data.fables.tables.opening);
  const stories = parts.filter(({ text }) => openings.some((opening) => text.startsWith(opening)));
  return stories.at(-1) ?? parts.at(-1) ?? { first: 0, last: 0, text: "", start: 0 };
}

/** What the reader of fables says of a passage: {kind, sentence, start, end}, positions in characters. */
export function checkStory(page, passage) {
  const { text, start } = storyPart(page, passage);
  if (!text.trim()) return { kind: "none", sentence: "" };
  const { contradictions, formError, facts, marks } = readFable(text, page.data.fables);
  if (contradictions.length > 0) {
    const [first] = contradictions;
    const spelled = / \(\w+\)$/.test(first.found) ? first.found.replace(/ \(\w+\)$/, "") : first.found;
    const more = contradictions.length > 1 ? ` It is the first of ${contradictions.length}.` : "";
    const sentence = `✗ A contradiction: ${contradictionInWords(first, facts)}.${more}`;
    return { kind: "wrong", sentence, start: start + first.start, end: start + first.start + spelled.length };
  }
  if (formError === null) {
    const kept = marks.filter((mark) => mark.recalled).length;
    return { kind: "right", sentence: `✓ No contradiction: all ${kept} places that repeat a fact agree with it.` };
  }
  if (formError.found === null) return { kind: "open", sentence: "✓ No contradiction so far." };
  if (formError.expected === null) {
    return { kind: "open", sentence: "The fable has ended, and the text goes on; from there nothing is checked." };
  }
  const found = formError.found.split(" ").slice(0, 4).join(" ");
  return {
    kind: "other",
    sentence: `This is not a fable, or not any more: a fable would go on with “${formError.expected}” here, not with “${found} …”.`,
  };
}

/** Whether token i of a passage has a character of a finding. */
export function touches(passage, i, finding) {
  if (finding.kind !== "wrong") return false;
  const start = passage.starts[i];
  const end = passage.starts[i + 1] ?? passage.length;
  return start < finding.end && end > finding.start && passage.pieces[i].trim() !== "";
}

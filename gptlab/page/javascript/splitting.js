// Where a text is split before byte-pair encoding sees it. As in gptlab/splitting.py.
//
// Browsers differ in the version of Unicode that they know, and their regular expressions have no `++` and no `(?i:…)`.
// So a page brings the pattern translated, and for each class of characters in it, such as \p{L}, the characters that
// Python finds in it. Then a text has the same chunks everywhere.

/**
 * A text as UTF-8 can write it: half of a surrogate pair, which is not a character, becomes U+FFFD.
 * @param {string} text
 * @returns {string}
 */
export function wellFormed(text) {
  return text.replace(/[\ud800-\udfff]/gu, "\ufffd"); // with the flag u, whole pairs are not found here
}

/**
 * A set of characters, as the inside of [...] in a regular expression.
 * @param {string} packed - in turn how many code points are left out and how many are in, in base 36
 * @returns {string}
 */
export function characterClass(packed) {
  const lengths = packed === "" ? [] : packed.split(" ").map((length) => Number.parseInt(length, 36));
  const escaped = (code) => `\\u{${code.toString(16)}}`;
  let at = 0;
  let inside = "";
  for (let i = 0; i + 1 < lengths.length; i += 2) {
    const first = at + lengths[i];
    at = first + lengths[i + 1];
    inside += at - first === 1 ? escaped(first) : `${escaped(first)}-${escaped(at - 1)}`;
  }
  return inside;
}

/**
 * The regular expression that finds a chunk.
 * @param {{parts: (string|number)[], sets: string[]}} pattern - a number stands for one character of that set
 * @returns {RegExp}
 */
export function compilePattern({ parts, sets }) {
  const classes = sets.map((packed) => `[${characterClass(packed)}]`);
  return new RegExp(parts.map((part) => (typeof part === "number" ? classes[part] : part)).join(""), "gu");
}

/**
 * Split a text into the chunks that are encoded one by one.
 * @param {string} text
 * @param {?RegExp} regex - as compilePattern gives it; with null the whole text is one chunk
 * @returns {string[]} joined, they are the text again
 */
export function splitText(text, regex) {
  if (regex === null) return text === "" ? [] : [text];
  const chunks = text.match(regex) ?? [];
  if (chunks.reduce((sum, chunk) => sum + chunk.length, 0) !== text.length) {
    throw new Error("the pattern of this tokenizer leaves out a part of the text");
  }
  return chunks;
}

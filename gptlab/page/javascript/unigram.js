// The Unigram tokenizer: of all ways to cut a text into pieces, the most likely one. As in gptlab/unigram.py.
import { wellFormed } from "./splitting.js";

const SPACE = "\u2581"; // how a vocabulary writes a space

/**
 * Where the most likely segmentation cuts: one pass that stores the best way to each position (Viterbi).
 * @param {string[]} characters - of the text, n of them
 * @param {Map<string, ?number>} trie - each piece with its score, and each beginning of a piece with null
 * @param {number} unknown - the score of a character that is not a piece
 * @param {boolean} single - add up in 32-bit numbers, as SentencePiece does
 * @returns {number[]} from 0 to n
 */
export function bestCuts(characters, trie, unknown, single) {
  const n = characters.length;
  const best = new (single ? Float32Array : Float64Array)(n + 1).fill(-Infinity);
  const startOf = new Int32Array(n + 1);
  let reach = 0;
  best[0] = 0;
  for (let start = 0; start < n; start++) {
    if (single && best[start] < -100_000) {
      const far = best[start]; // a fresh start before 32 bits become too coarse
      for (let i = start; i <= reach; i++) best[i] -= far;
    }
    let piece = "";
    for (let end = start + 1; end <= n; end++) {
      piece += characters[end - 1];
      let step = trie.get(piece);
      const goesOn = step !== undefined;
      step ??= end === start + 1 ? unknown : null;
      if (step !== null) {
        reach = Math.max(reach, end);
        const sum = single ? Math.fround(best[start] + step) : best[start] + step;
        if (sum > best[end]) {
          best[end] = sum;
          startOf[end] = start;
        }
      }
      if (!goesOn) break;
    }
  }
  const cuts = [n];
  while (cuts.at(-1) > 0) cuts.push(startOf[cuts.at(-1)]);
  return cuts.reverse();
}

/** Encodes and decodes with the pieces of a UnigramTokenizer; the page refuses those with tables of characters. */
export class Unigram {
  /** @param {object} spec - the fields of the tokenizer in Python, in JavaScript's spelling */
  constructor(spec) {
    const { pieces, scores } = spec;
    this.spec = spec;
    this.vocabSize = pieces.length;
    this.end = spec.end;
    this.trie = new Map();
    this.idOf = new Map();
    pieces.forEach((piece, id) => {
      if (scores[id] === null) return;
      this.trie.set(piece, scores[id]);
      this.idOf.set(piece, id);
    });
    for (const piece of this.idOf.keys()) {
      let beginning = "";
      for (const character of piece) {
        beginning += character;
        if (!this.trie.has(beginning)) this.trie.set(beginning, null);
      }
    }
    this.byteOf = new Map(spec.byteIds.map((id, byte) => [id, byte]));
    const symbols = [...spec.symbols].sort((a, b) => b.length - a.length);
    const escaped = symbols.map((symbol) => symbol.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
    this.symbols = symbols.length ? new RegExp(`(${escaped.join("|")})`, "u") : null;
  }

  /** What is cut into pieces: extra spaces removed or not, and each space written ▁. */
  normalise(text) {
    if (text === "") return "";
    const { dummyPrefix, removeExtraSpaces } = this.spec;
    let plain = wellFormed(text);
    if (removeExtraSpaces) plain = this.withoutExtraSpaces(plain);
    const spaced = ((dummyPrefix ? " " : "") + plain).replaceAll(" ", SPACE);
    return removeExtraSpaces ? spaced.replace(/\u2581+$/, "") : spaced;
  }

  /** One space of several, and none at the start; user-defined symbols stay as they are. */
  withoutExtraSpaces(text) {
    const parts = this.symbols ? text.split(this.symbols) : [text]; // text, symbol, text, symbol, …, text
    let afterSpace = true;
    return parts
      .map((part, i) => {
        let found = i % 2 ? part : part.replace(/ +/g, " ");
        if (afterSpace) found = found.replace(/^ +/, "");
        if (found !== "") afterSpace = found.endsWith(" ");
        return found;
      })
      .join("");
  }

  encode(text) {
    const whole = this.normalise(text);
    // No piece crosses a boundary of words, so the best of each are the best of all.
    const words = this.spec.likeSentencepiece ? [whole] : (whole.match(/\n|\u2581[^\u2581\n]*|[^\u2581\n]+/gu) ?? []);
    return words.flatMap((word) => this.encodeWord(word));
  }

  /** The id of each piece; for characters that are not one, their bytes, or one unknown for all in a row. */
  encodeWord(word) {
    const { byteIds, unknown, unknownScore, likeSentencepiece } = this.spec;
    const characters = Array.from(word);
    const cuts = bestCuts(characters, this.trie, unknownScore, likeSentencepiece);
    const ids = [];
    let wasUnknown = false;
    for (let i = 1; i < cuts.length; i++) {
      const piece = characters.slice(cuts[i - 1], cuts[i]).join("");
      const id = this.idOf.get(piece);
      if (id !== undefined) ids.push(id);
      else if (byteIds.length) for (const byte of new TextEncoder().encode(piece)) ids.push(byteIds[byte]);
      else if (unknown === null) throw new Error(`character ${piece} is not in this vocabulary`);
      else if (!wasUnknown) ids.push(unknown);
      wasUnknown = id === undefined;
    }
    return ids;
  }

  decode(ids) {
    const { dummyPrefix, removeExtraSpaces, likeSentencepiece, scores } = this.spec;
    let atStart = dummyPrefix || removeExtraSpaces;
    let text = "";
    let bytes = []; // of characters that no piece covers
    const flush = () => {
      text += likeSentencepiece ? decodeEachWrongByte(bytes) : decodeUTF8(Uint8Array.from(bytes));
      bytes = [];
    };
    for (const id of ids) {
      if (this.byteOf.has(id)) {
        bytes.push(this.byteOf.get(id));
        atStart = false;
        continue;
      }
      flush();
      let piece = decodeUTF8(this.tokenBytes(id));
      if (atStart && scores[id] !== null && piece.startsWith(" ")) piece = piece.slice(1);
      atStart = atStart && piece === "" && (scores[id] === null || removeExtraSpaces);
      text += piece;
    }
    flush();
    return text;
  }

  tokenBytes(id) {
    const { pieces, scores, unknown, unknownSurface } = this.spec;
    if (!(id in pieces)) throw new Error(`token id ${id} is not in this vocabulary of ${this.vocabSize}`);
    if (id === unknown) return new TextEncoder().encode(unknownSurface);
    if (scores[id] !== null) return new TextEncoder().encode(pieces[id].replaceAll(SPACE, " "));
    return Uint8Array.from(this.byteOf.has(id) ? [this.byteOf.get(id)] : []);
  }
}

/**
 * The text of some bytes; those that are not UTF-8 become U+FFFD.
 * @param {Uint8Array} bytes
 * @returns {string}
 */
export function decodeUTF8(bytes) {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
}

/** The same, but each wrong byte becomes a U+FFFD of its own, as in SentencePiece. */
function decodeEachWrongByte(bytes) {
  const strict = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });
  let text = "";
  for (let i = 0; i < bytes.length; ) {
    let length = 4; // of the character that begins here; 0 if none does
    for (; length > 0; length--) {
      try {
        const character = strict.decode(Uint8Array.from(bytes.slice(i, i + length)));
        if (Array.from(character).length === 1) {
          text += character;
          break;
        }
      } catch {
        // not a character: try fewer bytes
      }
    }
    if (length === 0) text += "\ufffd";
    i += Math.max(1, length);
  }
  return text;
}

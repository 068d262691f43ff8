// A string goes in, integers come out, and the way back loses nothing. As in gptlab/tokens.py and gptlab/bpe.py.
//
// Whatever a person types is text: a special token, such as <|endoftext|>, is never read out of it.
import { mergeByHeap, mergeByRank } from "./merging.js";
import { compilePattern, splitText, wellFormed } from "./splitting.js";
import { Unigram, decodeUTF8 } from "./unigram.js";

/**
 * The tokenizer that a page describes.
 * @param {object} spec - data.tokenizer of the page
 * @returns {object} {encode(text) -> ids, decode(ids) -> text, tokenBytes(id) -> Uint8Array, tokenText(id) -> string,
 *   vocabSize, end: id of the token that ends a document, or null}
 */
export function loadTokenizer(spec) {
  const kinds = { byte: ByteLevel, char: Characters, word: Words, bpe: BytePairs, unigram: Unigram };
  if (!Object.hasOwn(kinds, spec.kind)) throw new Error(`a tokenizer of the kind ${spec.kind} is unknown to this page`);
  const tokenizer = new kinds[spec.kind](spec);
  tokenizer.tokenText = (id) => decodeUTF8(tokenizer.tokenBytes(id));
  return tokenizer;
}

/** A token is one of a list of texts. */
class Listed {
  constructor(tokens, end) {
    this.tokens = tokens;
    this.vocabSize = tokens.length;
    this.end = end;
  }

  text(id) {
    if (!(id in this.tokens)) throw new Error(`token id ${id} is not in this vocabulary of ${this.vocabSize}`);
    return this.tokens[id];
  }

  decode(ids) {
    return Array.from(ids, (id) => this.text(id)).join("");
  }

  tokenBytes(id) {
    return new TextEncoder().encode(this.text(id));
  }
}

/** A token is a character. */
class Characters extends Listed {
  constructor({ characters, special, end }) {
    const known = Array.from(characters);
    super([...known, ...special], end);
    this.idOf = new Map(known.map((character, id) => [character, id]));
  }

  encode(text) {
    return Array.from(text, (character) => {
      const id = this.idOf.get(character);
      if (id === undefined) {
        const which = JSON.stringify(character);
        throw new Error(`the character ${which} is not one of the ${this.vocabSize} that this model knows`);
      }
      return id;
    });
  }
}

/** A token is a word, or one of the characters between words. */
class Words extends Listed {
  constructor({ words, unknown, pattern, end }) {
    super(words, end);
    this.idOf = new Map(words.map((word, id) => [word, id]));
    this.unknown = unknown === null ? null : this.idOf.get(unknown);
    this.regex = compilePattern(pattern);
  }

  encode(text) {
    return splitText(text, this.regex).map((word) => {
      const id = this.idOf.get(word) ?? this.unknown;
      if (id === null) throw new Error(`the word ${JSON.stringify(word)} is not one that this model knows`);
      return id;
    });
  }
}

/** A token is a byte of UTF-8. */
class ByteLevel {
  constructor() {
    this.vocabSize = 256;
    this.end = null;
  }

  encode(text) {
    return Array.from(new TextEncoder().encode(text));
  }

  decode(ids) {
    return decodeUTF8(Uint8Array.from(ids));
  }

  tokenBytes(id) {
    if (!(Number.isInteger(id) && id >= 0 && id < 256)) throw new Error(`token id ${id} is no byte`);
    return Uint8Array.of(id);
  }
}

/** A token is a run of bytes that byte-pair encoding has learned. */
class BytePairs {
  constructor({ tokens, special, pattern, end }) {
    const byteOf = byteCharacters();
    this.bytesOf = tokens.map((token) => token && Array.from(token, (character) => byteOf.get(character)).join(""));
    this.ranks = new Map();
    this.bytesOf.forEach((bytes, id) => bytes && this.ranks.set(bytes, id));
    for (const [name, id] of Object.entries(special)) this.bytesOf[id] = latin1(new TextEncoder().encode(name));
    this.vocabSize = this.bytesOf.length;
    this.end = end;
    this.regex = pattern && compilePattern(pattern);
    this.cache = new Map(); // the ids of short chunks: most words of a text come again
  }

  encode(text) {
    const ids = [];
    for (const chunk of splitText(wellFormed(text), this.regex)) {
      for (const id of this.chunkIds(chunk)) ids.push(id);
    }
    return ids;
  }

  chunkIds(chunk) {
    let ids = this.cache.get(chunk);
    if (ids === undefined) {
      ids = this.encodeChunk(latin1(new TextEncoder().encode(chunk)));
      if (this.cache.size >= 10_000) this.cache.clear();
      if (chunk.length <= 64) this.cache.set(chunk, ids);
    }
    return ids;
  }

  /** A chunk that is a token is that token, also one that no merge leads to (Llama 3 has such tokens). */
  encodeChunk(bytes) {
    if (this.ranks.has(bytes)) return [this.ranks.get(bytes)];
    const parts = bytes.length < 64 ? mergeByRank(bytes, this.ranks) : mergeByHeap(bytes, this.ranks);
    return parts.map((part) => this.ranks.get(part));
  }

  decode(ids) {
    return decodeUTF8(fromLatin1(Array.from(ids, (id) => this.bytes(id)).join("")));
  }

  tokenBytes(id) {
    return fromLatin1(this.bytes(id));
  }

  bytes(id) {
    const bytes = this.bytesOf[id];
    if (typeof bytes !== "string") throw new Error(`token id ${id} is not in this vocabulary of ${this.vocabSize}`);
    return bytes;
  }
}

/** Bytes as a text with one character for each, so that they can be a key of a Map. */
function latin1(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

function fromLatin1(text) {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

/**
 * The byte (as a character) for each of the characters in which a vocabulary is written: GPT-2's spelling, in which a
 * visible byte is itself and the others are U+0100, U+0101, … As in gptlab/byte_level.py.
 */
function byteCharacters() {
  const found = new Map();
  let others = 0;
  for (let byte = 0; byte < 256; byte++) {
    const visible = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    found.set(String.fromCharCode(visible ? byte : 256 + others++), String.fromCharCode(byte));
  }
  return found;
}

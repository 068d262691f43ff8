// Reading fables: the parser of gptlab/corpora/parsing.py, driven by the same grammar (gptlab/page/fables_data.py).
//
// The grammar is a list of templates that mention facts in braces. The first mention of a fact may be anything in its
// table; every later mention has to repeat it. A position is a number of characters, an emoji counting as one.

const WHITE_AT_THE_END = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+$/;

class NotAFable extends Error {
  constructor(place) {
    super(`no fable from character ${place.start} on`);
    this.place = place;
  }
}

/** A branch is known by its first word. */
function firstWord(template) {
  return template.match(/\S+/)[0];
}

/** A template cut at its braces: [text, mention, text, …], where a text may be empty. */
function templateParts(template) {
  return template.split(/\{([^}]*)\}/);
}

class FableReader {
  constructor(text, rules) {
    this.text = Array.from(text.replace(WHITE_AT_THE_END, ""));
    this.rules = rules;
    this.at = 0;
    this.facts = {};
    this.marks = [];
    this.contradictions = [];
  }

  read() {
    let formError = null;
    try {
      this.follow();
      if (this.at < this.text.length) this.refuse(null);
    } catch (error) {
      if (!(error instanceof NotAFable)) throw error;
      formError = error.place;
    }
    return { facts: this.facts, marks: this.marks, contradictions: this.contradictions, formError };
  }

  follow() {
    for (const part of this.rules.story) {
      let template = part;
      if (Array.isArray(part)) {
        const [fact, table] = part;
        template = table[this.branch(fact, table)];
      }
      templateParts(template).forEach((piece, i) => {
        if (i % 2) this.mention(piece);
        else if (piece) this.expect(piece);
      });
    }
  }

  // ---- What may stand at this place -----------------------------------------------------------------------------

  /** The fact that a mention draws and what it may be, or null where it has been said before. */
  options(mention) {
    const { tables, forms, rivals, roles } = this.rules;
    if (mention === "finder.name" && !("finder" in this.facts)) {
      return { fact: "finder", values: roles, texts: roles.map((role) => this.facts[`${role}.name`]) };
    }
    const fact = mention in forms ? mention.slice(0, mention.lastIndexOf(".")) : mention;
    if (fact in this.facts) return null;
    const without = fact in rivals ? this.facts[rivals[fact]] : null;
    const values = Object.keys(tables[fact]).filter((value) => value !== without);
    return { fact, values, texts: values.map((value) => (mention in forms ? forms[mention][value] : value)) };
  }

  /** What a mention repeats. */
  recalled(mention) {
    const form = this.rules.forms[mention];
    return form ? form[this.facts[mention.slice(0, mention.lastIndexOf("."))]] : this.facts[mention];
  }

  /** What else could be mentioned here, if nothing had been said before. */
  alternatives(mention) {
    const { tables, forms } = this.rules;
    if (mention in forms) return Object.values(forms[mention]);
    const [role, quality] = mention.split(".");
    return Object.keys(tables[["finder", "other", "friend"].includes(role) ? `hero.${quality}` : mention]);
  }

  /** Record a fact, and what follows from it. */
  state(fact, value) {
    this.facts[fact] = value;
    if (fact !== "finder") return;
    const other = value === "hero" ? "friend" : "hero";
    for (const quality of ["name", "trait", "animal"]) {
      this.facts[`finder.${quality}`] = this.facts[`${value}.${quality}`];
      this.facts[`other.${quality}`] = this.facts[`${other}.${quality}`];
    }
    this.facts["finder.kind"] = this.rules.vices.includes(this.facts["finder.trait"]) ? "vice" : "virtue";
  }

  // ---- Reading on ------------------------------------------------------------------------------------------------

  expect(literal) {
    if (this.at + literal.length > this.text.length) literal = literal.trimEnd();
    if (!this.startsWith(literal)) {
      const left = this.text.length - this.at;
      let agreed = 0;
      while (agreed < Math.min(left, literal.length) && literal[agreed] === this.text[this.at + agreed]) agreed += 1;
      const word = agreed ? literal.slice(0, agreed + 1).lastIndexOf(" ") + 1 : 0; // point at the whole word
      this.at += word;
      this.refuse(literal.slice(word).trim());
    }
    this.at += literal.length;
  }

  mention(name) {
    const drawn = this.options(name);
    if (drawn === null) {
      this.recall(name);
      return;
    }
    const { fact, values, texts } = drawn;
    let found = this.matching(texts);
    if (found !== null) {
      this.state(fact, values[texts.indexOf(found)]);
      this.mark(fact, found, false, { mention: name, values, texts });
      return;
    }
    const rival = this.rules.rivals[fact];
    if (rival && this.matching([this.facts[rival]]) !== null) {
      found = this.facts[rival];
      this.contradict(fact, `another than ${found}`, found);
      this.state(fact, found);
    } else if (fact === "finder" && (found = this.matching(this.rules.names)) !== null) {
      this.contradict("finder.name", texts.join(" or "), found);
      this.state(fact, "hero");
    } else {
      this.refuse(texts.slice(0, 3).join(" or ") + (texts.length > 3 ? " or …" : ""));
    }
    this.at += found.length;
  }

  recall(name) {
    const expected = this.recalled(name);
    if (this.matching([expected]) !== null) {
      this.mark(name, expected, true);
      return;
    }
    const found = this.matching(this.alternatives(name));
    if (found === null) this.refuse(expected);
    this.contradict(name, expected, found);
    this.at += found.length;
  }

  /** Which branch the text takes; it takes it although the facts ask for another one. */
  branch(fact, table) {
    const expected = this.facts[fact];
    for (const value of [expected, ...Object.keys(table)]) {
      const word = firstWord(table[value]);
      if (this.matching([word]) === null) continue;
      if (value === expected) {
        this.marks.push({ fact, text: word, start: this.at, end: this.at + word.length, recalled: true });
      } else {
        this.contradict(fact, `${firstWord(table[expected])} (${expected})`, `${word} (${value})`);
      }
      return value;
    }
    return this.refuse(firstWord(table[expected]));
  }

  startsWith(text) {
    for (let i = 0; i < text.length; i += 1) {
      if (this.text[this.at + i] !== text[i]) return false;
    }
    return true;
  }

  /** The one of `texts` that is here, as complete words. */
  matching(texts) {
    for (const text of texts) {
      const next = this.text[this.at + text.length] ?? "";
      if (this.startsWith(text) && !/[\p{L}\p{N}]/u.test(next)) return text;
    }
    return null;
  }

  mark(fact, text, recalled, choice = {}) {
    this.marks.push({ fact, text, start: this.at, end: this.at + text.length, recalled, ...choice });
    this.at += text.length;
  }

  contradict(fact, expected, found) {
    this.contradictions.push({ fact, start: this.at, expected, found });
  }

  /** The next few words, for a message. */
  here() {
    const words = this.text.slice(this.at, this.at + 40);
    return (words.length < 40 ? words : words.slice(0, Math.max(0, words.lastIndexOf(" ")))).join("");
  }

  refuse(expected) {
    const found = this.at >= this.text.length && expected !== null ? null : this.here();
    throw new NotAFable({ start: this.at, expected, found });
  }
}

/** What a story says, and where it contradicts itself or stops being a fable.
 *
 * A mark that is not recalled is a choice: it has the `values` that the fact could have had, and the `texts` for them.
 * A form error has `found: null` where the text ends too early, and `expected: null` where it goes on too long.
 */
export function readFable(text, rules) {
  return new FableReader(text, rules).read();
}

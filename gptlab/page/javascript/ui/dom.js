// Building and finding elements, and how numbers and tokens are written for people.

export function byId(id) {
  return document.getElementById(id);
}

/** An element with attributes and children; an attribute that is null, undefined or false is left out. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/** A probability for people: "23.4%". */
export function percent(p) {
  if (p > 0 && p < 0.0005) return "<0.1%";
  if (p < 1 && p > 0.9995) return ">99.9%";
  return `${(100 * p).toFixed(p === 0 || p === 1 ? 0 : 1)}%`;
}

/** A count with separators: 12,345. */
export function counted(n) {
  return n.toLocaleString("en-US");
}

/** A token's text inside a sentence: quoted, with its spaces and line breaks made visible. */
export function quoted(text) {
  return `“${text.replace(/ /g, "␣").replace(/\n/g, "↵").replace(/\t/g, "⇥")}”`;
}

/** A token's text as nodes: spaces and line breaks as faint symbols. */
export function tokenNodes(text) {
  return text.split(/([ \n\t\r])/).filter(Boolean).map((part) => {
    const symbol = { " ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍" }[part];
    return symbol ? element("span", { class: "white" }, symbol) : part;
  });
}

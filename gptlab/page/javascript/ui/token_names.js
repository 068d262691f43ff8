// A name for every token, also for one that is a part of a character or cannot be seen.

const UNSEEN = /^[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]$/; // control characters

/** The text of a token if it is text that can be seen, or null. */
export function visibleText(bytes) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes));
    return UNSEEN.test(text) ? null : text;
  } catch {
    return null; // a part of a character
  }
}

/** Bytes as one writes them: "E2 82". */
export function bytesInHex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).toUpperCase().padStart(2, "0")).join(" ");
}

export function tokenName(bytes) {
  return visibleText(bytes) ?? `‹${bytesInHex(bytes)}›`;
}

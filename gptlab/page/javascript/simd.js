// SIMD (single instruction, multiple data): instructions of WebAssembly work on four numbers at once, where JavaScript
// takes one after the other. That counts most where a text has outgrown the context, and every step reads the whole
// window again. A browser that cannot do this computes row by row, as `linear` says, and is slower.

/**
 * A program in the binary form of WebAssembly, for four rows of x and four outputs. In JavaScript, if `four` and each of
 * the sums were four numbers:
 *
 *     do {
 *       four = the four numbers at W
 *       for (r of rows) sums[r] += four * (the number at X + r)
 *       X += 4; W += 4
 *     } while (W !== END)
 *     for (r of rows) the four numbers at OUT + 4 * r = sums[r]
 *
 * @returns {Uint8Array} a module that takes its memory, and has one function of the addresses X, W, END and OUT, in bytes
 */
function fourByFour() {
  const [X, W, END, OUT, FOUR, SUMS] = [0, 1, 2, 3, 4, 5]; // the arguments and the variables, by number
  const rows = [0, 1, 2, 3];
  const get = (variable) => [0x20, variable];
  const set = (variable) => [0x21, variable];
  const advance = (address) => [get(address), 0x41, 16, 0x6a, set(address)]; // by four numbers: + 16 bytes
  const body = [
    [1, 5, 0x7b], // five variables of four numbers each, which begin as zeros: FOUR, and SUMS of each row
    [0x03, 0x40], // loop
    [get(W), 0xfd, 0x00, 4, 0, set(FOUR)], // load four numbers
    rows.map((r) => [
      [get(SUMS + r), get(FOUR)],
      [get(X), 0xfd, 0x09, 2, 4 * r], // load one number into all four places
      [0xfd, 0xe6, 1, 0xfd, 0xe4, 1], // multiply by FOUR, add to the sums
      set(SUMS + r),
    ]),
    [advance(X), advance(W)],
    [get(W), get(END), 0x47, 0x0d, 0, 0x0b], // if W is not END, begin the loop again; its end
    rows.map((r) => [get(OUT), get(SUMS + r), 0xfd, 0x0b, 4, 16 * r]), // store four sums
    0x0b,
  ].flat(4);
  const length = (bytes) => [(bytes.length & 0x7f) | 0x80, bytes.length >> 7]; // seven bits at a time, the low ones first
  const section = (id, ...bytes) => [id, ...length(bytes), ...bytes];
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // "\0asm", version 1
    ...section(1, 1, 0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 0), // types: a function of four integers without a result
    ...section(2, 1, 1, 0x6d, 1, 0x6d, 2, 0, 1), // imports: a memory, of one page or more, named "m" in "m"
    ...section(3, 1, 0), // functions: one, of that type
    ...section(7, 1, 1, 0x66, 0, 0), // exports: it, as "f"
    ...section(10, 1, ...length(body), ...body), // code
  ]);
}

let tile = null; // {memory, run} once it has been needed; run is null where there is no such WebAssembly

function startTile() {
  try {
    const memory = new WebAssembly.Memory({ initial: 1 });
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(fourByFour()), { m: { m: memory } });
    return { memory, run: exports.f };
  } catch {
    return { run: null }; // an old browser, or one that forbids it
  }
}

/**
 * A linear layer without its bias on many rows, out = x Wᵀ, if this browser can.
 *
 * x and W are copied so that what a step of the loop needs lies side by side: one number of each of four rows, and one of
 * each of four outputs. Where the last four are fewer, something is computed that nobody reads.
 * @param {Float32Array} out - as for `linear`, like all others
 * @param {number} outAt
 * @param {Float32Array} x
 * @param {number} xAt
 * @param {{weight: Float32Array, inputs: number, outputs: number}} layer
 * @param {number} n
 * @returns {boolean} whether it was computed
 */
export function multiplyRows(out, outAt, x, xAt, { weight, inputs, outputs }, n) {
  tile ??= startTile();
  if (tile.run === null) return false;
  const [sumsAt, weightsAt, rowsAt] = [0, 16, 16 + 4 * inputs]; // in the memory, in numbers
  const bytes = 4 * (rowsAt + (n + 3) * inputs);
  const missing = bytes - tile.memory.buffer.byteLength;
  if (missing > 0) tile.memory.grow(Math.ceil(missing / 65_536));
  const numbers = new Float32Array(tile.memory.buffer);
  for (let t = 0; t < n; t++) {
    const to = rowsAt + (t - (t % 4)) * inputs + (t % 4);
    for (let i = 0; i < inputs; i++) numbers[to + 4 * i] = x[xAt + t * inputs + i];
  }
  for (let o = 0; o < outputs; o += 4) {
    const wide = Math.min(4, outputs - o);
    for (let c = 0; c < wide; c++) {
      for (let i = 0; i < inputs; i++) numbers[weightsAt + 4 * i + c] = weight[(o + c) * inputs + i];
    }
    for (let t = 0; t < n; t += 4) {
      tile.run(4 * (rowsAt + t * inputs), 4 * weightsAt, 4 * rowsAt, 4 * sumsAt);
      for (let r = 0; r < Math.min(4, n - t); r++) {
        for (let c = 0; c < wide; c++) out[outAt + (t + r) * outputs + o + c] = numbers[sumsAt + 4 * r + c];
      }
    }
  }
  return true;
}

// Calls the engine of a page on tasks from a JSON file, and writes the answers as JSON: `node page_engine.mjs ENGINE
// TASKS`.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [engine, tasks] = process.argv.slice(2);
const from = (name) => import(new URL(`${name}.js`, `${pathToFileURL(engine)}/`));
const { forward, loadModel, losses } = await from("model");
const { Session } = await from("session");
const { loadTokenizer } = await from("tokenizer");
const { filteredProbabilities, sample } = await from("sampling");
const { makeRandom } = await from("random");
const { mergeByHeap, mergeByRank } = await from("merging");
const { erf } = await from("parts");
const { linear } = await from("tensor");
const { multiplyRows } = await from("simd");

const plain = (value) =>
  ArrayBuffer.isView(value) ? Array.from(value) : Array.isArray(value) ? value.map(plain) : value;

function switchesOf({ heads = [], layers = [], ...others }) {
  return { heads: new Set(heads), layers: new Set(layers), ...others };
}

function greedy(model, ids, n, options) {
  const session = new Session(model, options);
  let logits = session.feed(ids);
  for (let i = 0; i < n; i++) logits = session.feed([filteredProbabilities(logits, { temperature: 0 }).indexOf(1)]);
  return session.ids;
}

const answers = {
  forward: ({ data, ids, switches, watch }) =>
    forward(loadModel(data), ids, { switches: switches && switchesOf(switches), watch }),
  // The logits after each part of a text, when it is read part by part.
  parts({ data, parts, watch, switches }) {
    const session = new Session(loadModel(data), { watch, switches: switches && switchesOf(switches) });
    const logits = parts.map((part) => session.feed(part));
    return { logits, attention: session.attention, rows: session.rows, keys: session.keys };
  },
  greedy: ({ data, ids, n }) => greedy(loadModel(data), ids, n),
  losses: ({ data, ids }) => losses(loadModel(data), ids),
  encode({ tokenizer, texts }) {
    const loaded = loadTokenizer(tokenizer);
    return texts.map((text) => loaded.encode(text));
  },
  decode({ tokenizer, rows }) {
    const loaded = loadTokenizer(tokenizer);
    return rows.map((ids) => loaded.decode(ids));
  },
  tokens({ tokenizer, ids }) {
    const loaded = loadTokenizer(tokenizer);
    const { vocabSize, end } = loaded;
    const bytes = ids.map((id) => loaded.tokenBytes(id));
    return { vocabSize, end, bytes, texts: ids.map((id) => loaded.tokenText(id)) };
  },
  probabilities: ({ rows, options }) => rows.map((row) => filteredProbabilities(Float32Array.from(row), options)),
  random({ seed, n }) {
    const random = makeRandom(seed);
    return Array.from({ length: n }, random);
  },
  sample({ probabilities, numbers }) {
    const given = numbers.values();
    return numbers.map(() => sample(Float32Array.from(probabilities), () => given.next().value));
  },
  erf: ({ numbers }) => numbers.map(erf),
  // A linear layer on n rows, and whether SIMD computed it.
  linear({ x, weight, bias, inputs, outputs, n }) {
    const layer = { weight: Float32Array.from(weight), bias: bias && Float32Array.from(bias), inputs, outputs };
    const out = new Float32Array(1 + n * outputs);
    linear(out, 1, Float32Array.from([0, ...x]), 1, layer, n);
    return { out: out.subarray(1), simd: [multiplyRows(out.slice(), 1, Float32Array.from([0, ...x]), 1, layer, n)] };
  },
  merge({ chunks, ranks }) {
    const known = new Map(ranks);
    return chunks.map((chunk) => [mergeByRank(chunk, known), mergeByHeap(chunk, known)]);
  },
};

function answer({ what, ...task }) {
  try {
    const found = answers[what](task);
    if (ArrayBuffer.isView(found) || Array.isArray(found)) return plain(found);
    return Object.fromEntries(Object.entries(found).map(([name, value]) => [name, plain(value)]));
  } catch (error) {
    return { error: error.message };
  }
}

process.stdout.write(JSON.stringify(JSON.parse(readFileSync(tasks, "utf8")).map(answer)));

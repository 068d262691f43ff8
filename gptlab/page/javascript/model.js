// The whole model: embedding, blocks on a residual stream, and a head that gives logits. As in gptlab/model.py.
import { attend, rotaryPositions } from "./attention.js";
import { KVCache } from "./cache.js";
import { embed, sinusoidal } from "./embedding.js";
import { ACTIVATIONS, convolve, normalise, runMLP } from "./parts.js";
import { decodeBase85, linear, readTensor } from "./tensor.js";

/**
 * What a page's data describes, ready to compute with.
 * @param {{config: object, tensors: object, weights: string}} data - as `python3 -m gptlab page` writes it
 * @returns {object} {config, parameters, embedding, rotary, blocks, norm, head}; parameters has each tensor by its name
 *   in Python
 */
export function loadModel(data) {
  const { config, tensors } = data;
  const bytes = decodeBase85(data.weights);
  const parameters = {};
  for (const [name, entry] of Object.entries(tensors)) parameters[name] = readTensor(bytes, entry);

  const found = (name) => parameters[name] ?? null;
  const layer = (name) => {
    const [outputs, inputs] = tensors[`${name}.weight`].shape;
    return { weight: parameters[`${name}.weight`], bias: found(`${name}.bias`), inputs, outputs };
  };
  const norm = (name) => {
    const weight = found(`${name}.weight`);
    return weight && { kind: config.norm, weight, bias: found(`${name}.bias`), eps: config.norm_eps };
  };

  const C = config.n_embd;
  const hs = config.head_size;
  const blocks = Array.from({ length: config.n_layer }, (_, number) => {
    const name = `blocks.${number}`;
    const weight = found(`${name}.convolution.weight`);
    return {
      norm1: norm(`${name}.norm1`),
      convolution: weight && { weight, width: config.convolution, C },
      attention: {
        H: config.n_head,
        G: config.n_kv_head,
        hs,
        query: layer(`${name}.attention.query`),
        key: layer(`${name}.attention.key`),
        value: layer(`${name}.attention.value`),
        output: layer(`${name}.attention.output`),
        queryNorm: norm(`${name}.attention.query_norm`),
        keyNorm: norm(`${name}.attention.key_norm`),
      },
      norm2: norm(`${name}.norm2`),
      mlp: {
        activation: ACTIVATIONS[config.mlp],
        up: layer(`${name}.mlp.up`),
        down: layer(`${name}.mlp.down`),
        gate: config.mlp === "swiglu" ? layer(`${name}.mlp.gate`) : null,
      },
    };
  });

  const V = config.vocab_size;
  const token = parameters["embedding.token.weight"];
  const waves = config.position === "sinusoidal" ? sinusoidal(config.context, C) : null;
  const rope = config.position === "rope";
  return {
    config,
    parameters,
    embedding: { token, positions: found("embedding.position.weight") ?? waves, V, C },
    rotary: rope ? rotaryPositions(hs, config.context, config.rope_theta, config.rope_scaling) : null,
    blocks,
    norm: norm("norm"),
    // With tied weights the head is the embedding's table, and stored once.
    head: { weight: found("head.weight") ?? token, bias: null, inputs: C, outputs: V },
    scratch: null,
  };
}

/** Memory for n rows, allocated once and kept with the model: a new token allocates nothing. */
function scratchFor(model, n) {
  if (model.scratch === null || model.scratch.rows < n) {
    const { n_embd: C, context } = model.config;
    const width = model.blocks.reduce((widest, { mlp }) => Math.max(widest, mlp.up.outputs), 0);
    const room = (columns) => new Float32Array(n * columns);
    const [x, h, q, mixed, added] = [room(C), room(C), room(C), room(C), room(C)];
    const scores = new Float32Array(context);
    model.scratch = { rows: n, x, h, q, mixed, added, hidden: room(width), gate: room(width), scores };
  }
  return model.scratch;
}

/** The numbers of the heads of one layer that are switched off, or null for none. */
function headsOff(switches, layer, H) {
  const off = new Set();
  for (let head = 0; head < H; head++) if (switches.heads?.has(`${layer}.${head}`)) off.add(head);
  return off.size ? off : null;
}

/**
 * Read n tokens that follow those in the cache, and add them to it.
 *
 * In the last layer only the last `rows` positions are computed to the end: nothing else depends on the others.
 * @param {object} model
 * @param {number[]} ids - n token ids
 * @param {KVCache} cache
 * @param {object} options - {switches, watch, rows}; see forward
 * @returns {{normed: Float32Array, attention: ?Float32Array[][]}} normed is [rows, C], valid until the next call; the
 *   head makes logits of it. attention, if watched, has for each layer and head [rows, length of the cache]
 */
export function readTokens(model, ids, cache, { switches = {}, watch = false, rows = ids.length } = {}) {
  const n = ids.length;
  const start = cache.length;
  const { n_embd: C, n_head: H, context } = model.config;
  if (start + n > cache.maxLength) {
    throw new Error(`${start + n} tokens do not fit a context of ${context}: pass the last ${context}`);
  }
  const scratch = scratchFor(model, n);
  const { x, h, added } = scratch;
  const positions = switches.positions !== false;
  const rotary = positions ? model.rotary : null;

  embed(x, model.embedding, ids, start, positions); // the residual stream, [n, C]
  const attention = watch ? [] : null;
  const last = model.blocks.length - 1;
  model.blocks.forEach((block, number) => {
    // Whoever watches wants the weights of the last rows only, but later layers need every row.
    const wanted = number === last ? rows : n;
    const weights = watch ? Array.from({ length: H }, () => new Float32Array(wanted * (start + n))) : null;
    if (!switches.layers?.has(number)) {
      for (let t = 0; t < n; t++) normalise(h, t * C, x, t * C, block.norm1);
      if (block.convolution !== null && switches.convolution !== false) {
        convolve(h, n, block.convolution, cache.layers[number].window);
      }
      const off = headsOff(switches, number, H);
      const call = { start, n, rows: wanted, rotary, off, weights, scratch };
      attend(added, h, block.attention, cache.layers[number], call);
      const from = (n - wanted) * C;
      for (let i = 0; i < wanted * C; i++) x[from + i] += added[i];

      for (let t = 0; t < wanted; t++) normalise(h, t * C, x, from + t * C, block.norm2);
      runMLP(added, h, block.mlp, wanted, scratch);
      for (let i = 0; i < wanted * C; i++) x[from + i] += added[i];
    }
    if (watch) attention.push(weights.map((array) => array.subarray((wanted - rows) * (start + n))));
  });
  cache.length += n;
  for (let t = 0; t < rows; t++) normalise(h, t * C, x, (n - rows + t) * C, model.norm);
  return { normed: h, attention };
}

/**
 * Logits for what follows each position of a text.
 * @param {object} model
 * @param {number[]} ids - T token ids, at least one and at most the context
 * @param {object} options
 * @param {object} [options.switches] - what is switched off: {heads: Set of "layer.head", layers: Set of numbers,
 *   positions: false, convolution: false}. A head then gives zeros, a layer passes the stream on, positions are left
 *   out, and the convolution adds nothing
 * @param {boolean} [options.watch] - also return the attention weights
 * @returns {{logits: Float32Array, attention: ?Float32Array[][]}} logits [T, V]; attention[layer][head] [T, T]
 */
export function forward(model, ids, { switches, watch } = {}) {
  const T = ids.length;
  const cache = new KVCache(model, Math.min(T, model.config.context));
  const { normed, attention } = readTokens(model, ids, cache, { switches, watch });
  const logits = new Float32Array(T * model.config.vocab_size);
  linear(logits, 0, normed, 0, model.head, T);
  return { logits, attention };
}

/**
 * What each token after the first costs: -ln p of it, given those before. In nats.
 *
 * A text longer than the context is read in windows that overlap by half, so that every token has at least half a
 * context before it.
 * @param {object} model
 * @param {number[]} ids - T token ids
 * @param {object} [options] - {switches}
 * @returns {Float32Array} [T - 1]: the loss of ids[1], ids[2], …
 */
export function losses(model, ids, { switches } = {}) {
  const { context, vocab_size: V, n_embd: C } = model.config;
  const found = new Float32Array(Math.max(0, ids.length - 1));
  const logits = new Float32Array(V);
  const cache = new KVCache(model);
  const overlap = context >> 1;
  for (let done = 0, start = 0; done < found.length; start = done - overlap) {
    const window = ids.slice(start, start + context); // position t of it tells about ids[start + t + 1]
    const end = Math.min(start + window.length, found.length); // nothing comes after the last token of the text
    cache.reset();
    const { normed } = readTokens(model, window, cache, { switches, rows: start + window.length - done });
    for (let row = 0; done < end; row++, done++) {
      linear(logits, 0, normed, row * C, model.head, 1);
      found[done] = surprise(logits, ids[done + 1]);
    }
  }
  return found;
}

/**
 * -ln p of one token, in nats.
 * @param {Float32Array} logits - [V]
 * @param {number} id
 * @returns {number}
 */
export function surprise(logits, id) {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - largest), 0);
  return Math.log(sum) + largest - logits[id];
}

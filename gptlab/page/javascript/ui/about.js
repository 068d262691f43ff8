// What this model is, in a sentence and in numbers.
import { byId, counted, element } from "./dom.js";

const POSITIONS = { learned: "learned", sinusoidal: "sine waves", none: "none", rope: "rotary (RoPE)" };
const MLPS = { gelu: "GELU", gelu_tanh: "GELU (tanh)", relu2: "squared ReLU", swiglu: "SwiGLU" };
const NORMS = { layernorm: "LayerNorm", rmsnorm: "RMSNorm" };

/** A number of parameters for people: 0.4 million. */
export function inMillions(count) {
  if (count >= 1e6) return `${(count / 1e6).toFixed(1)} million`;
  return count >= 5e4 ? `${(count / 1e6).toFixed(count < 1e5 ? 2 : 1)} million` : counted(count);
}

export function describeModel(page) {
  const { about, chat } = page.data;
  const { config } = page.model;
  document.title = about.title;
  const answers = chat && page.data.fables ? "answers with fables" : chat ? "answers" : page.data.fables ? "writes fables" : "";
  byId("title").textContent = answers ? `A GPT that ${answers}` : `A GPT named ${about.name}`;
  byId("size").textContent = `${inMillions(about.parameters)} parameters`;
  const inside = `click any ${page.data.fables ? "word" : "token"} to see what else could have come there, and what the model attended to.`;
  const request = page.data.fables ? "for a story, then who found what in it" : "something";
  if (chat) byId("invitation").textContent = `Ask it ${request}. Then look inside its answer: ${inside}`;
  else byId("invitation").textContent = `Press the button and it writes${page.data.fables ? " a story" : ""}, one token at a time. Then ${inside}`;
  byId("about-text").textContent = `The model ${about.name ? `“${about.name}” ` : ""}` +
    `${about.corpus ? `learned from ${about.corpus}. It ` : ""}` +
    `has ${counted(about.parameters)} parameters, and takes ${(about.bytes / 1e6).toFixed(1)} MB in this file. ` +
    `It was made with ${about.made_with}, by python3 -m gptlab page.`;
  const facts = {
    Layers: config.n_layer,
    "Heads in each": config.n_kv_head && config.n_kv_head !== config.n_head ? `${config.n_head}, keys and values for ${config.n_kv_head}` : config.n_head,
    Channels: config.n_embd,
    "Context, in tokens": config.context,
    Vocabulary: counted(page.tokenizer.vocabSize),
    Positions: POSITIONS[config.position] ?? config.position,
    Normalisation: NORMS[config.norm] ?? config.norm,
    MLP: MLPS[config.mlp] ?? config.mlp,
    ...(config.convolution ? { Convolution: `${config.convolution} tokens wide` } : {}),
  };
  byId("facts").replaceChildren(...Object.entries(facts).map(([name, value]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, `${value}`))));
}

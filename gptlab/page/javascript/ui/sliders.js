// The settings of sampling: sliders that say in words what they do.
import { byId } from "./dom.js";

function explainSettings(page) {
  const { temperature, topK, topP } = page.settings;
  const say = (name, words) => {
    byId(`${name}-value`).textContent = words;
    byId(name).setAttribute("aria-valuetext", words);
  };
  say("temperature", temperature === 0 ? "0, always the best" : temperature.toFixed(2));
  say("top-k", topK === null ? "all tokens" : topK === 1 ? "the best one" : `the best ${topK}`);
  say("top-p", topP === 1 ? "1, all tokens" : topP.toFixed(2));
}

export function setUpSliders(page) {
  for (const name of ["temperature", "top-k", "top-p"]) {
    byId(name).addEventListener("input", () => {
      explainSettings(page);
      page.tell("settings");
    });
  }
  explainSettings(page);
}

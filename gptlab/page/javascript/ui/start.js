// Opening the page: reads the model out of it and sets up each part.
import { loadModel, forward, losses } from "../model.js";
import { makeRandom } from "../random.js";
import { filteredProbabilities, sample } from "../sampling.js";
import { Session } from "../session.js";
import { loadTokenizer } from "../tokenizer.js";
import { readFable } from "../fables.js";
import { describeModel } from "./about.js";
import { setUpChat } from "./chat.js";
import { byId } from "./dom.js";
import { setUpInside } from "./inside.js";
import { PageState } from "./page_state.js";
import { setUpSliders } from "./sliders.js";
import { setUpStrip } from "./strip.js";
import { setUpSwap } from "./swap.js";
import { setUpSwitches } from "./switches.js";
import { setUpTheme } from "./theme.js";
import { setUpTokens } from "./tokens.js";
import { setUpWriting } from "./write.js";

function openPage() {
  setUpTheme();
  const data = JSON.parse(byId("gptlab-model").textContent);
  const page = new PageState(data, loadModel(data), loadTokenizer(data.tokenizer));
  for (const part of document.querySelectorAll("[data-needs]")) part.hidden = !data[part.dataset.needs];
  describeModel(page);
  setUpSliders(page);
  setUpInside(page);
  setUpWriting(page);
  setUpStrip(page);
  setUpSwitches(page);
  setUpTokens(page);
  if (data.fables) setUpSwap(page);
  if (data.chat) setUpChat(page);
  // For the browser's console.
  globalThis.gptlab = {
    ...{ data, page, model: page.model, tokenizer: page.tokenizer },
    ...{ forward, losses, Session, makeRandom, filteredProbabilities, sample, readFable },
  };
  document.documentElement.dataset.ready = "yes";
  performance.mark("gptlab-ready");
}

openPage();

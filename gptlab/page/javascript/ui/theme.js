// Light or dark: as the system says, until the button says otherwise.
import { byId } from "./dom.js";

const THEME = "gptlab-theme";

function remembered() {
  try {
    return localStorage.getItem(THEME);
  } catch {
    return null; // a browser may forbid files to remember anything
  }
}

export function setUpTheme() {
  const button = byId("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = (name) => {
    if (name) document.documentElement.dataset.theme = name;
    const dark = (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
    button.setAttribute("aria-pressed", dark);
    return dark;
  };
  let dark = apply(remembered());
  system.addEventListener("change", () => (dark = apply(null)));
  button.addEventListener("click", () => {
    dark = apply(dark ? "light" : "dark");
    try {
      localStorage.setItem(THEME, dark ? "dark" : "light");
    } catch {
      // then it holds until the page is closed
    }
  });
}

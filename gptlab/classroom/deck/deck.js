"use strict";
// One slide at a time. What has data-step appears with the next key, so that a class can guess before it sees.
const slides = [...document.querySelectorAll("main > section")];
const notes = [...document.querySelectorAll("aside")];
const counter = document.getElementById("counter");
let at = 0;
let step = 0;

function steps(slide) {
  return [...slide.querySelectorAll("[data-step]")];
}

function fit(slide) {
  const body = slide.querySelector(".body");
  if (!body) return;
  for (const size of [1, 0.9, 0.8, 0.72, 0.65]) {
    body.style.setProperty("--fit", size);
    if (slide.scrollHeight <= slide.clientHeight + 1) return;
  }
}

function show(number, shown) {
  at = Math.max(0, Math.min(slides.length - 1, number));
  const parts = steps(slides[at]);
  step = Math.max(0, Math.min(parts.length, shown));
  slides.forEach((slide, i) => slide.classList.toggle("here", i === at));
  notes.forEach((note, i) => note.classList.toggle("here", i === at));
  parts.forEach((part, i) => part.classList.toggle("later", i >= step));
  fit(slides[at]);
  slides[at].scrollTop = 0;
  counter.textContent = `${at + 1} of ${slides.length}` + (step < parts.length ? " · more with →" : "");
  if (location.hash !== `#${at + 1}`) history.replaceState(null, "", `#${at + 1}`);
}

function forward() {
  if (step < steps(slides[at]).length) show(at, step + 1);
  else if (at < slides.length - 1) show(at + 1, 0);
}

function back() {
  if (step > 0) show(at, step - 1);
  else if (at > 0) show(at - 1, Infinity);
}

const KEYS = {
  ArrowRight: forward, " ": forward, PageDown: forward, ArrowLeft: back, PageUp: back,
  Home: () => show(0, 0), End: () => show(slides.length - 1, Infinity),
  n: () => document.body.classList.toggle("notes"),
  f: () => (document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen()),
};

document.addEventListener("keydown", (event) => {
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  const typed = event.target.closest && event.target.closest("a, button, summary, input");
  if (!act || event.ctrlKey || event.metaKey || event.altKey || (typed && event.key === " ")) return;
  event.preventDefault();
  act();
});
document.getElementById("next").addEventListener("click", forward);
document.getElementById("back").addEventListener("click", back);
window.addEventListener("hashchange", () => show(Number(location.hash.slice(1)) - 1 || 0, 0));
window.addEventListener("resize", () => fit(slides[at]));
show(Number(location.hash.slice(1)) - 1 || 0, 0);

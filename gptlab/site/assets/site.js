// Theme, contents, search and printing. The pages can be read without it; nothing is requested, nothing is sent.
"use strict";

var course = (function () {
  const root = document.documentElement;
  const wide = () => window.matchMedia("(min-width: 64rem)").matches;

  // ── Theme: the system's, unless the reader has chosen ──────────────────────────────────────────────────────────────

  const system = window.matchMedia("(prefers-color-scheme: dark)");

  function remembered() {
    try { return localStorage.getItem("gptlab-theme"); } catch { return null; }  // some browsers refuse on file://
  }

  function remember(theme) {
    try { localStorage.setItem("gptlab-theme", theme); } catch { /* then it holds for this page */ }
  }

  let chosen = remembered();

  function paint() {
    const dark = (chosen || (system.matches ? "dark" : "light")) === "dark";
    root.dataset.theme = dark ? "dark" : "light";
    const button = document.getElementById("theme");
    if (button) {
      button.hidden = false;
      button.textContent = dark ? "Light theme" : "Dark theme";
    }
  }

  paint();  // before anything is drawn, so that nothing flashes
  system.addEventListener("change", paint);

  // ── Contents: open beside the text, closed above it ────────────────────────────────────────────────────────────────

  function fold() {
    const contents = document.getElementById("contents");
    contents.open = wide();
    const here = contents.querySelector("[aria-current=page]");
    if (wide() && here) contents.scrollTop = here.offsetTop - 60;
  }

  window.matchMedia("(min-width: 64rem)").addEventListener("change", fold);

  function follow() {  // marks the heading that is being read
    const links = new Map();
    for (const link of document.querySelectorAll(".headings a")) {
      links.set(decodeURIComponent(link.hash.slice(1)), link);
    }
    const headings = [...links.keys()].map((id) => document.getElementById(id)).filter(Boolean);
    let waiting = false, marked = null;
    function mark() {
      waiting = false;
      const above = headings.filter((heading) => heading.getBoundingClientRect().top < 120).pop();
      const link = above && links.get(above.id);
      if (link === marked) return;
      if (marked) marked.removeAttribute("aria-current");
      if (link) {
        link.setAttribute("aria-current", "true");
        const contents = document.getElementById("contents"), box = contents.getBoundingClientRect();
        const place = link.getBoundingClientRect();
        if (wide() && (place.top < box.top || place.bottom > box.bottom)) {
          contents.scrollTop += place.top - box.top - box.height / 3;
        }
      }
      marked = link;
    }
    window.addEventListener("scroll", () => {
      if (!waiting) { waiting = true; requestAnimationFrame(mark); }
    }, { passive: true });
    if (headings.length) mark();
  }

  // ── Search: all words of the query, in a heading or in the words below it ──────────────────────────────────────────

  const plain = (text) => text.toLowerCase().normalize("NFKD").replace(/[\u0300-\u036f]/g, "");

  function find(query, limit) {
    const words = plain(query).split(/\s+/).filter(Boolean);
    if (!words.length || typeof courseIndex === "undefined") return [];
    const found = [];
    for (const [page, title, headings] of courseIndex) {
      headings.forEach(([anchor, text, below], place) => {
        const heading = plain(text), all = heading + " " + plain(title) + " " + plain(below);
        if (!words.every((word) => all.includes(word))) return;
        const inHeading = words.filter((word) => heading.includes(word)).length;
        const begins = words.filter((word) => (" " + heading).includes(" " + word)).length;
        found.push({ page, title, anchor, text, below, score: 4 * inHeading + 2 * begins + (place === 0 ? 1 : 0) });
      });
    }
    found.sort((one, other) => other.score - one.score);  // stable: equal ones stay in the order of the course
    return found.slice(0, limit);
  }

  function result(one) {
    const item = document.createElement("li"), link = document.createElement("a");
    link.href = one.page + "#" + encodeURIComponent(one.anchor);
    for (const [kind, text] of [["heading", one.text], ["where", one.title], ["below", one.below]]) {
      const part = document.createElement("span");
      part.className = kind;
      part.textContent = text;
      link.append(part, " ");
    }
    item.append(link);
    return item;
  }

  function searching() {
    const form = document.getElementById("search"), query = document.getElementById("query");
    const box = document.getElementById("found"), list = document.getElementById("results");
    const count = document.getElementById("count");
    form.hidden = false;

    function show() {
      const found = find(query.value, 20);
      list.replaceChildren(...found.map(result));
      count.textContent = found.length === 0 ? "No heading has these words."
        : found.length === 1 ? "1 result" : found.length === 20 ? "The first 20 results" : found.length + " results";
      box.hidden = !query.value.trim();
    }

    function close() { box.hidden = true; }

    query.addEventListener("input", show);
    query.addEventListener("focus", () => { if (query.value.trim()) show(); });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const first = list.querySelector("a");
      if (first && !box.hidden) first.click();
    });
    form.addEventListener("keydown", (event) => {
      const links = [...list.querySelectorAll("a")], at = links.indexOf(document.activeElement);
      if (event.key === "Escape") { close(); query.focus(); }
      else if (event.key === "ArrowDown" && !box.hidden && links.length) links[Math.min(at + 1, links.length - 1)].focus();
      else if (event.key === "ArrowUp" && at >= 0) (at ? links[at - 1] : query).focus();
      else return;
      event.preventDefault();
    });
    form.addEventListener("focusout", (event) => { if (!form.contains(event.relatedTarget)) setTimeout(close, 150); });
    list.addEventListener("click", close);
  }

  // ── What scrolls sideways can be reached by the keyboard; what is folded is printed too ────────────────────────────

  function reachable() {
    for (const box of document.querySelectorAll("pre, .drawn, .drawn [style*=overflow], .wide, .formula")) {
      if (box.scrollWidth > box.clientWidth + 1) {
        box.tabIndex = 0;
        if (!box.hasAttribute("role")) box.setAttribute("role", "group");
        box.setAttribute("aria-label", "scrolls sideways");
      }
    }
  }

  function printing() {
    let closed = [];
    window.addEventListener("beforeprint", () => {
      closed = [...document.querySelectorAll("main details:not([open])")];
      for (const one of closed) one.open = true;
    });
    window.addEventListener("afterprint", () => { for (const one of closed) one.open = false; });
  }

  document.addEventListener("DOMContentLoaded", () => {
    paint();
    document.getElementById("theme").addEventListener("click", () => {
      chosen = root.dataset.theme === "dark" ? "light" : "dark";
      remember(chosen);
      paint();
    });
    searching();
    follow();
    reachable();
    document.addEventListener("toggle", reachable, true);
    printing();
  });

  return { fold, find };
})();

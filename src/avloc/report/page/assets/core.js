"use strict";
// The page's one global. Data files call avlocPage.receive(name, value); nothing else comes in from outside.
// Texts (names of files, labels) are untrusted: they reach the page by textContent and fillText only.

const avlocPage = (() => {
  const received = new Map(); // name -> value
  const kept = new Map(); // name -> value; the last few videos only
  const KEEP = 6;

  const receive = (name, value) => received.set(name, value);

  // Code and data load by <script> tag: the only way that works from file:// as well as from a server.
  function script(url) {
    return new Promise((resolve, reject) => {
      const tag = document.createElement("script");
      tag.src = url;
      tag.onload = () => resolve(tag.remove());
      tag.onerror = () => {
        tag.remove();
        reject(new Error(`${url} is missing; copy the whole folder of the page`));
      };
      document.head.append(tag);
    });
  }

  async function load(name) {
    if (kept.has(name)) return kept.get(name);
    await script(`data/${name}.js`);
    if (!received.has(name)) throw new Error(`data/${name}.js holds something else`);
    kept.set(name, received.get(name));
    received.delete(name);
    if (kept.size > KEEP) kept.delete(kept.keys().next().value);
    return kept.get(name);
  }

  function bytes(text) {
    const raw = atob(text);
    const values = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) values[i] = raw.charCodeAt(i);
    return values;
  }

  const $ = (id) => document.getElementById(id);

  // element("li", {className: "x"}, child, "text", ...)
  function element(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [key, value] of Object.entries(properties)) {
      if (key.startsWith("aria-") || key === "role" || key === "dir") made.setAttribute(key, value);
      else if (key === "style") Object.assign(made.style, value);
      else made[key] = value;
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  }

  const text = (value) => element("span", { dir: "auto", textContent: value });

  // 3725.5 -> 1:02:05.5; `digits` after the point
  function clock(seconds, digits = 1) {
    const total = Math.max(0, seconds);
    const hours = Math.floor(total / 3600);
    const minutes = Math.floor(total / 60) % 60;
    const rest = (Math.floor((total % 60) * 10 ** digits) / 10 ** digits).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
    return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
  }

  function download(name, content) {
    const url = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1) + "\n"], { type: "application/json" }));
    const link = element("a", { href: url, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }

  // Classes keep their colour over all videos. Names are always written beside it: colour is never the only sign.
  const HUES = [212, 24, 268, 150, 340, 48, 185, 300, 95, 0, 230, 35];
  function hue(label) {
    const place = state.index.classes.indexOf(label);
    return place < 0 ? 0 : HUES[place % HUES.length];
  }

  const listeners = {};
  const on = (event, action) => (listeners[event] = listeners[event] || []).push(action);
  const emit = (event, detail) => (listeners[event] || []).forEach((action) => action(detail));

  // What the parts of the page share. Events: "video" (another one), "found" (other detections), "view" (time range),
  // "time" (cursor), "theme", "edits".
  const state = {
    index: null, // data/index.js
    file: null, // stem of the video's data
    data: null, // its data
    found: [], // per run: [{start, end, label, score, hit}]
    weaker: 0, // how many of the first run's are below it
    factor: null, // activation threshold; null: as detected
    lowest: 0, // score of the weakest detections that are shown; at first index.likely_from
    view: [0, 1], // seconds that the timeline shows
    selected: null, // {kind: "found" | "truth" | "edit", run, place}
    compare: true,
    more: false,
    editing: false,
  };

  return { receive, script, load, bytes, $, element, text, clock, download, hue, on, emit, state };
})();

"use strict";
// The page's only global. Data files call avlocPage.receive(name, value); there is no other input.
// Text (file names, labels) is untrusted: it reaches the page through textContent and fillText only.

const avlocPage = (() => {
  const received = new Map(); // name -> value
  const kept = new Map(); // name -> value, of the last few videos
  const KEEP = 6;

  const receive = (name, value) => received.set(name, value);

  // Loads code or data by a <script> tag, which works from file:// as well as from a server.
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
    if (!received.has(name)) throw new Error(`data/${name}.js is not a data file of this page`);
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

  // plural(1, "video") -> 1 video
  const plural = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

  // 3725.5 -> 1:02:05.5, with this number of decimals
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

  // A class has the same colour in all videos. Its name is always shown too: colour is never the only cue.
  const HUES = [212, 24, 268, 150, 340, 48, 185, 300, 95, 0, 230, 35];
  function hue(label) {
    const place = state.index.classes.indexOf(label);
    return place < 0 ? 0 : HUES[place % HUES.length];
  }

  const listeners = {};
  const on = (event, action) => (listeners[event] = listeners[event] || []).push(action);
  const emit = (event, detail) => (listeners[event] || []).forEach((action) => action(detail));

  // State shared by the parts of the page. Events, sent on change: "video", "found" (detections), "view" (time range),
  // "time" (cursor), "selected", "theme", "edits", "marks" (what is checked and saved), "redraw"; "leave" before another
  // video is opened.
  const state = {
    index: null, // data/index.js
    file: null, // stem of the video's data file
    data: null, // content of that file; while it is loaded, of the one before, as data.file says
    places: new Map(), // video_id -> place among the suggested videos
    found: [], // per run: [{start, end, label, score, hit}]
    weaker: 0, // number of the first run's detections below `lowest`
    factor: null, // activation threshold; null: detections as given
    lowest: 0, // lowest score shown; initially index.likely_from
    view: [0, 1], // time range of the timeline, seconds
    selected: null, // {kind: "found" | "truth" | "edit", run, one, label}
    compare: true,
    more: false,
    editing: false,
  };

  return { receive, script, load, bytes, $, element, plural, clock, download, hue, on, emit, state };
})();

"use strict";
// Draft labels of videos: tick, strike out, add; the moment of each is played. Text is untrusted: textContent only.

(() => {
  const { $, element, plural, clock, load } = avlocPage;
  const SENSES = { audio: "heard", frames: "seen", both: "heard, seen", "": "" };
  const UNLIKELY = 0.5;
  let index = null;
  let rows = []; // drafts shown, in order: {video, tag, node}
  let current = -1;
  let until = null;
  let dirty = false;
  const history = [];

  const KEYS = [
    ["j", "next draft", () => move(1)],
    ["k", "previous draft", () => move(-1)],
    ["ArrowDown", "next draft", () => move(1)],
    ["ArrowUp", "previous draft", () => move(-1)],
    ["x", "tick or strike out", () => rows[current] && toggle(rows[current])],
    ["Enter", "play the moment", playMoment],
    ["Space", "play or pause", () => ($("video").paused ? $("video").play() : $("video").pause())],
    ["a", "another label for this video", () => $("label").focus()],
    ["Ctrl+Z", "undo", undo],
    ["s", "save", () => !$("save").hidden && save()],
    ["?", "show this help", () => $("help").showModal()],
  ];

  async function start() {
    index = await load("index");
    document.title = $("title").textContent = index.title;
    $("next").textContent = `avloc run VIDEOS --labels ${index.table} -o out`;
    $("save").hidden = location.protocol === "file:";
    if (!$("save").hidden) await readTable();
    listLabels();
    for (const name of ["filter", "weak"]) $(name).addEventListener("change", show);
    $("tick-all").addEventListener("click", () => setAll(true));
    $("strike-all").addEventListener("click", () => setAll(false));
    $("undo").addEventListener("click", undo);
    $("save").addEventListener("click", save);
    $("download").addEventListener("click", downloadTable);
    $("add").addEventListener("click", add);
    $("label").addEventListener("input", () => complain(""));
    $("label").addEventListener("keydown", (event) => event.key === "Enter" && add());
    $("play").addEventListener("click", playMoment);
    $("help-open").addEventListener("click", () => $("help").showModal());
    $("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme !== "dark"));
    $("video").addEventListener("timeupdate", () => {
      if (until !== null && $("video").currentTime >= until) stop();
    });
    $("video").addEventListener("error", () => problem("This browser cannot play the file. Build the page again with --proxy always."));
    theme(matchMedia("(prefers-color-scheme: dark)").matches);
    $("keys").replaceChildren(...KEYS.flatMap(([key, words]) => [element("dt", {}, element("kbd", { textContent: key })), element("dd", { textContent: words })]));
    document.addEventListener("keydown", press);
    addEventListener("beforeunload", (event) => dirty && event.preventDefault());
    show();
    if (rows.length) choose(0);
    else if (index.videos.length) openVideo(index.videos[0]);
  }

  function theme(dark) {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    $("theme").setAttribute("aria-pressed", String(dark));
  }

  function press(event) {
    if ((event.ctrlKey || event.metaKey) && event.key === "z" && !/^(text|)$/.test(event.target.type || "none")) {
      event.preventDefault();
      return undo();
    }
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
    if (event.target.matches("input:not([type=checkbox]), select, video")) return;
    const name = event.key === " " ? "Space" : event.key;
    if (["Space", "Enter"].includes(name) && event.target.matches("button, input")) return;
    const found = KEYS.find(([key]) => key === name);
    if (!found) return;
    event.preventDefault();
    found[2]();
  }

  function listLabels() {
    const counts = new Map();
    for (const video of index.videos) for (const tag of video.tags) counts.set(tag.label, (counts.get(tag.label) || 0) + 1);
    const labels = [...counts.keys()].sort((one, other) => counts.get(other) - counts.get(one));
    const before = $("filter").value;
    $("filter").replaceChildren(
      element("option", { value: "", textContent: "all" }),
      ...labels.map((label) => element("option", { value: `=${label}`, textContent: `${label} (${counts.get(label)})` })),
    );
    $("filter").value = before;
    $("labels").replaceChildren(...labels.map((label) => element("option", { value: label })));
  }

  const weak = (tag) => tag.score !== null && tag.score < UNLIKELY && !tag.keep && !tag.seen;

  function show() {
    const label = $("filter").value;
    const chosen = rows[current];
    rows = [];
    const items = [];
    for (const video of index.videos) {
      const tags = video.tags.filter((tag) => (!label || `=${tag.label}` === label) && ($("weak").checked || !weak(tag)));
      if (label && !tags.length) continue;
      const nodes = tags.map((tag) => draft(video, tag));
      const none = tags.length ? null : element("p", { className: "quiet none", textContent: "no draft: background" });
      const name = element("h3", { dir: "auto", textContent: video.video });
      name.addEventListener("click", () => openVideo(video));
      items.push(element("li", {}, name, ...nodes, none));
    }
    $("list").replaceChildren(...items);
    const kept = chosen ? rows.findIndex((row) => row.tag === chosen.tag) : -1;
    current = -1;
    if (kept >= 0) choose(kept, false);
    count();
  }

  function draft(video, tag) {
    const box = element("input", { type: "checkbox", checked: tag.keep, tabIndex: -1 });
    const word = element("label", { className: "word", dir: "auto" }, box, element("span", { textContent: tag.label }));
    const timed = tag.start !== null && tag.end !== null;
    const words = timed ? `${clock(tag.start)}–${clock(tag.end)}` : "";
    const button = element("button", { textContent: words, hidden: !timed, "aria-label": `play ${tag.label} from ${words}` });
    const node = element(
      "div",
      { className: "draft" },
      word,
      element("span", { className: "score", textContent: tag.score === null ? "" : tag.score.toFixed(2) }),
      element("span", { className: "quiet sense", textContent: tag.score === null ? "yours" : SENSES[tag.sense] }),
      button,
    );
    const row = { video, tag, node, box };
    const place = rows.push(row) - 1;
    box.addEventListener("change", () => toggle(row, box.checked));
    node.addEventListener("click", () => choose(place));
    button.addEventListener("click", () => {
      choose(place);
      playMoment();
    });
    mark(row);
    return node;
  }

  function mark({ tag, node, box }) {
    box.checked = tag.keep;
    node.classList.toggle("struck", !tag.keep);
  }

  function count() {
    const all = index.videos.flatMap((video) => video.tags);
    const kept = all.filter((tag) => tag.keep).length;
    $("summary").textContent = `${plural(index.videos.length, "video")}, ${kept} of ${plural(all.length, "draft")} ticked`;
    $("undo").disabled = !history.length;
  }

  function change(steps) {
    if (!steps.length) return;
    history.push(steps.map(([tag, keep]) => [tag, !keep]));
    apply(steps);
  }

  function apply(steps) {
    for (const [tag, keep] of steps) {
      tag.keep = keep;
      tag.seen = true;
    }
    rows.forEach(mark);
    dirty = true;
    $("status").textContent = "not saved yet";
    count();
  }

  function undo() {
    const steps = history.pop();
    if (steps) apply(steps);
  }

  function toggle(row, keep = !row.tag.keep) {
    change([[row.tag, keep]]);
  }

  function setAll(keep) {
    change(rows.filter(({ tag }) => tag.keep !== keep).map(({ tag }) => [tag, keep]));
  }

  function move(step) {
    if (rows.length) choose(Math.max(0, Math.min(rows.length - 1, current + step)));
  }

  function choose(place, scroll = true) {
    if (rows[current]) rows[current].node.removeAttribute("aria-current");
    current = place;
    const { video, tag, node } = rows[place];
    node.setAttribute("aria-current", "true");
    if (scroll) node.scrollIntoView({ block: "nearest" });
    openVideo(video);
    stop();
    const timed = tag.start !== null && tag.end !== null;
    $("moment").textContent = timed ? `${tag.label}: most likely from ${clock(tag.start)} to ${clock(tag.end)}` : tag.label;
    if (video.media && timed) $("video").currentTime = tag.start;
  }

  let opened = null;
  function openVideo(video) {
    if (opened === video) return;
    opened = video;
    complain("");
    $("name").textContent = video.video;
    $("moment").textContent = "";
    $("video").hidden = !video.media;
    $("no-video").hidden = Boolean(video.media);
    if (video.media) $("video").src = video.media;
    else {
      $("video").removeAttribute("src");
      $("video").load();
      $("no-video").textContent = video.note || "no video file is known";
    }
  }

  function problem(words) {
    if (!opened || !opened.media) return;
    $("no-video").textContent = words;
    $("no-video").hidden = false;
  }

  function stop() {
    until = null;
    $("video").pause();
  }

  function playMoment() {
    const row = rows[current];
    if (!row || !row.video.media || row.tag.start === null) return;
    $("video").currentTime = row.tag.start;
    until = row.tag.end;
    $("video").play();
  }

  // What is wrong with a new label, until something else is typed or opened.
  let complained = false;
  function complain(text) {
    if (text || complained) $("status").textContent = text || (dirty ? "not saved yet" : "");
    complained = Boolean(text);
  }

  function add() {
    const label = $("label").value.trim();
    const wrong = !opened ? "Choose a video first." : !label ? "Enter a label first." : "";
    const unusable = /;/.test(label) || label.toLowerCase() === "background";
    if (wrong || unusable) return complain(wrong || "A label holds no ; and is not background.");
    complain("");
    const known = opened.tags.find((tag) => tag.label === label);
    if (known) change(known.keep ? [] : [[known, true]]);
    else {
      const tag = { label, keep: false, score: null, start: null, end: null, sense: "" };
      opened.tags.push(tag);
      change([[tag, true]]);
      listLabels();
      show();
    }
    $("label").value = "";
    $("label").blur();
  }

  // The table may have changed since the page was made: saved before, in another window, or by hand.
  async function readTable() {
    try {
      const answer = await fetch("drafts");
      if (!answer.ok) throw new Error((await answer.json()).message);
      const { videos } = await answer.json();
      for (const { video, tags } of index.videos) {
        for (const [label, keep] of Object.entries(videos[video] ?? {})) {
          const known = tags.find((tag) => tag.label === label);
          if (known) known.keep = keep;
          else tags.push({ label, keep, score: null, start: null, end: null, sense: "" });
        }
        for (const tag of tags) tag.saved = tag.keep;
      }
    } catch (error) {
      $("status").textContent = `the table cannot be read: ${error.message}`;
    }
  }

  // Only what was changed here is sent, so that what others saved meanwhile stays.
  async function save() {
    const videos = {};
    const sent = [];
    for (const { video, tags } of index.videos) {
      const changed = tags.filter((tag) => tag.keep !== tag.saved);
      if (changed.length) videos[video] = Object.fromEntries(changed.map((tag) => [tag.label, tag.keep]));
      sent.push(...changed.map((tag) => [tag, tag.keep]));
    }
    const kept = history.length;
    try {
      const answer = await fetch("tags", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ videos }) });
      const { message } = await answer.json();
      $("status").textContent = message;
      if (answer.ok) for (const [tag, keep] of sent) tag.saved = keep;
      if (answer.ok && history.length === kept) dirty = false;
    } catch {
      $("status").textContent = "not saved: avloc view is not running any more; download the table instead";
    }
  }

  const cell = (value) => (/[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const number = (value, digits) => (value === null ? "" : value.toFixed(digits));

  function downloadTable() {
    const lines = ["video,label,keep,score,start_s,end_s,sense,path"];
    for (const { video, path, tags } of index.videos) {
      for (const tag of tags) {
        const facts = [number(tag.score, 3), number(tag.start, 2), number(tag.end, 2), tag.sense];
        lines.push([video, tag.label, tag.keep ? "yes" : "no", ...facts, path].map(cell).join(","));
      }
      if (!tags.length) lines.push([video, "", "", "", "", "", "", path].map(cell).join(","));
    }
    const url = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
    const link = element("a", { href: url, download: index.table });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
    dirty = false;
    $("status").textContent = `downloaded ${index.table}`;
  }

  start().catch((error) => ($("summary").textContent = error.message));
})();

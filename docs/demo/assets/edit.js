"use strict";
// Corrections: an editable copy of the detections or the ground truth, saved as ActivityNet ground truth by download or by
// `avloc view`. Until then, localStorage keeps it.

avlocPage.edit = (() => {
  const { $, element, plural, state, on, emit, timeline, player, download } = avlocPage;
  const SHORTEST = 0.02;
  const edits = new Map(); // file -> {segments, video_id, duration_s, subset}
  let history = [];
  let key = "";

  function setUp() {
    key = `avloc corrections: ${state.index.title} ${state.index.videos.length} ${location.pathname}`;
    restore();
    $("labels").append(...state.index.classes.map((name) => element("option", { value: name })));
    const actions = { add, relabel, delete: remove, undo, download: saveFile, save: writeBack };
    for (const [id, action] of Object.entries(actions)) $(id).addEventListener("click", action);
    $("from").addEventListener("click", () => toCursor("start"));
    $("to").addEventListener("click", () => toCursor("end"));
    $("edit").addEventListener("click", toggle);
    $("origin").addEventListener("change", startOver);
    $("save").hidden = !location.protocol.startsWith("http");
    on("video", opened);
    on("selected", chosen);
    window.addEventListener("beforeunload", keep);
  }

  function opened() {
    history = [];
    $("edit-status").textContent = "";
    if (state.editing) startEditing();
  }

  function toggle() {
    state.editing = !state.editing;
    $("edit").setAttribute("aria-pressed", String(state.editing));
    $("editor").hidden = !state.editing;
    if (state.editing) startEditing();
    emit("edits");
  }

  // Starts from the saved corrections of a video if there are any, else from its detections.
  function startEditing() {
    const choices = [element("option", { value: "", textContent: "choose…" })];
    state.data.runs.forEach((run, i) => choices.push(element("option", { value: String(i), textContent: run.name })));
    if (state.data.truth) choices.push(element("option", { value: "truth", textContent: "ground truth" }));
    if (state.data.corrections) choices.push(element("option", { value: "saved", textContent: "saved corrections" }));
    choices.push(element("option", { value: "none", textContent: "nothing" }));
    $("origin").replaceChildren(...choices);
    if (!edits.has(state.file)) put(copy(state.data.corrections ? "saved" : "0"));
    emit("edits");
  }

  function copy(origin) {
    if (origin === "none") return [];
    if (origin === "truth" || origin === "saved") {
      const known = origin === "truth" ? state.data.truth : state.data.corrections;
      return known.map(([start, end, label]) => ({ start, end, label }));
    }
    return state.found[Number(origin)].map(({ start, end, label }) => ({ start, end, label }));
  }

  function put(segments) {
    const { video_id, duration_s, subset } = state.data;
    edits.set(state.file, { video_id, duration_s, subset, segments });
  }

  const segments = () => (edits.get(state.file) || { segments: [] }).segments;
  const selected = () => (state.selected && state.selected.kind === "edit" ? state.selected.one : null);

  function begin() {
    history.push(JSON.stringify(segments()));
    if (history.length > 100) history.shift();
  }

  function end() {
    keep();
    emit("edits");
  }

  function undo() {
    if (!history.length) return;
    put(JSON.parse(history.pop()));
    timeline.select(null);
    end();
  }

  function startOver() {
    if ($("origin").value === "") return;
    begin();
    put(copy($("origin").value));
    $("origin").value = "";
    timeline.select(null);
    end();
  }

  function drag(one, side, time) {
    if (side === "start") one.start = Math.max(0, Math.min(time, one.end - SHORTEST));
    else one.end = Math.min(state.data.duration_s, Math.max(time, one.start + SHORTEST));
    emit("edits");
  }

  function toCursor(side) {
    const one = selected();
    if (!one) return say("Select a correction first: click it in the corrections row.");
    begin();
    drag(one, side, player.time());
    end();
  }

  function add() {
    const label = $("label").value.trim() || state.index.classes[0];
    if (!label) return say("Enter a label first.");
    begin();
    const start = Math.min(player.time(), state.data.duration_s - SHORTEST);
    const one = { start, end: Math.min(state.data.duration_s, start + Math.max(1, (state.view[1] - state.view[0]) / 20)), label };
    segments().push(one);
    timeline.select({ kind: "edit", run: 0, one, label });
    end();
  }

  function relabel() {
    const one = selected();
    const label = $("label").value.trim();
    if (!one || !label) return say(one ? "Enter a label first." : "Select a correction first: click it in the corrections row.");
    begin();
    one.label = label;
    state.selected.label = label;
    end();
  }

  function remove() {
    const one = selected();
    if (!one) return say("Select a correction first: click it in the corrections row.");
    begin();
    segments().splice(segments().indexOf(one), 1);
    timeline.select(null);
    end();
  }

  function chosen() {
    const one = selected();
    if (one) $("label").value = one.label;
  }

  const say = (words) => ($("edit-status").textContent = words);
  const exact = (seconds) => Math.round(seconds * 1000) / 1000;

  // All corrected videos, as ActivityNet ground truth.
  function database() {
    const content = { version: "avloc corrections", taxonomy: [], database: {} };
    for (const one of edits.values()) {
      const annotations = [...one.segments]
        .sort((a, b) => a.start - b.start)
        .map(({ start, end, label }) => ({ label, segment: [exact(start), exact(end)] }));
      content.database[one.video_id] = { subset: one.subset || "validation", duration: one.duration_s, annotations };
    }
    return content;
  }

  function saveFile() {
    download("corrections.json", database());
    say(`${plural(edits.size, "video")} saved in corrections.json`);
  }

  async function writeBack() {
    say("Saving…");
    try {
      const answer = await fetch("corrections", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(database()) });
      const { message } = await answer.json();
      say(message);
    } catch (error) {
      say(`not saved: ${error.message}; is avloc view still running?`);
    }
  }

  // Browsers may refuse storage, especially for file://; corrections then last as long as the page is open.
  function keep() {
    try {
      localStorage.setItem(key, JSON.stringify([...edits]));
    } catch {
      /* see above */
    }
  }

  function restore() {
    try {
      for (const [file, one] of JSON.parse(localStorage.getItem(key) || "[]")) {
        if (state.index.videos.some((video) => video.file === file && video.video_id === one.video_id)) edits.set(file, one);
      }
    } catch {
      /* see above */
    }
  }

  return { setUp, toggle, segments, begin, end, drag, add, remove, undo, toCursor, database };
})();

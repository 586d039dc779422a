"use strict";
// Corrections: an editable copy of a video's detections. What a person has touched is stated, what they have not touched is
// not, unless the video is checked. saving.js writes them; until then, localStorage keeps them.

avlocPage.edit = (() => {
  const { $, element, plural, state, on, emit, timeline, player, download, statements } = avlocPage;
  const SHORTEST = 0.02;
  const USUAL_FRAME_S = 1 / 25;
  // file -> {video_id, duration_s, subset, segments: [{start, end, label, touched}], proposed: detections of the model,
  // checked, points, base: the saved statements that this is based on, or null}
  const edits = new Map();
  let history = [];
  let key = "";
  let opening = false; // a video was opened, its detections are not known yet

  function setUp() {
    key = `avloc corrections: ${state.index.title} ${state.index.videos.length} ${location.pathname}`;
    restore();
    $("labels").append(...state.index.classes.map((name) => element("option", { value: name })));
    const actions = { add, relabel, delete: remove, undo, accept, download: saveFile };
    for (const [id, action] of Object.entries(actions)) $(id).addEventListener("click", () => action());
    $("from").addEventListener("click", () => toCursor("start"));
    $("to").addEventListener("click", () => toCursor("end"));
    $("edit").addEventListener("click", toggle);
    $("origin").addEventListener("change", startOver);
    $("label").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && selected()) relabel();
      if (event.key === "Enter" || event.key === "Escape") $("timeline").focus();
    });
    on("video", opened);
    on("found", () => opening && state.editing && startEditing());
    on("selected", chosen);
    window.addEventListener("beforeunload", keep);
  }

  function opened() {
    history = [];
    opening = true;
    say("");
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
    opening = false;
    const choices = [element("option", { value: "", textContent: "choose…" })];
    state.data.runs.forEach((run, i) => choices.push(element("option", { value: String(i), textContent: run.name })));
    if (state.data.truth) choices.push(element("option", { value: "truth", textContent: "ground truth" }));
    if (saved()) choices.push(element("option", { value: "saved", textContent: "saved corrections" }));
    choices.push(element("option", { value: "none", textContent: "nothing" }));
    $("origin").replaceChildren(...choices);
    record();
    if (!state.selected) choose(ordered()[0]);
    emit("edits");
  }

  const saved = () => avlocPage.saving.saved(state.data.video_id) || state.data.corrections;
  const predicted = () => state.found[0].map(({ start, end, label }) => ({ start, end, label }));
  const exactly = (rows, touched) => rows.map(([start, end, label]) => ({ start, end, label, touched }));

  // The corrections of the video shown; made from what is saved, or from the detections, when it has none yet.
  function record() {
    if (!edits.has(state.data.file)) put(saved());
    return edits.get(state.data.file);
  }

  // Takes over saved statements. In a video that is not checked, detections about which they say nothing are proposed.
  function put(entry) {
    const { video_id, duration_s, subset } = state.data;
    const said = entry ? [...entry.present, ...entry.deleted] : [];
    const free = entry && entry.checked ? [] : predicted().filter((one) => !said.some((row) => statements.overlap(row, [one.start, one.end, one.label])));
    const segments = [...exactly(entry ? entry.present : [], true), ...free.map((one) => ({ ...one }))];
    const proposed = [...exactly(entry ? entry.deleted : []), ...free];
    edits.set(state.data.file, { video_id, duration_s, subset, segments, proposed, checked: Boolean(entry && entry.checked), points: entry ? entry.points : [], base: entry || null });
  }

  const segments = () => (edits.get(state.data.file) || { segments: [] }).segments;
  const selected = () => (state.selected && state.selected.kind === "edit" ? state.selected.one : null);
  const ordered = () => [...segments()].sort((a, b) => a.start - b.start || a.end - b.end);
  const choose = (one) => timeline.select(one ? { kind: "edit", run: 0, one, label: one.label } : null);

  function begin() {
    history.push(JSON.stringify([record().segments, record().checked, segments().indexOf(selected())]));
    if (history.length > 100) history.shift();
  }

  function end() {
    keep();
    emit("edits");
  }

  function undo() {
    if (!history.length) return say("Nothing to undo.");
    const [before, checked, place] = JSON.parse(history.pop());
    Object.assign(record(), { segments: before, checked });
    choose(before[place]);
    end();
  }

  function startOver() {
    const origin = $("origin").value;
    if (origin === "") return;
    begin();
    const now = record();
    if (origin === "saved") {
      put(saved());
      edits.get(state.data.file).base = now.base;
    } else if (origin === "0") Object.assign(now, { segments: predicted(), proposed: predicted() });
    else if (origin === "truth") now.segments = exactly(state.data.truth, true);
    else now.segments = origin === "none" ? [] : state.found[Number(origin)].map(({ start, end, label }) => ({ start, end, label, touched: true }));
    $("origin").value = "";
    choose(null);
    end();
  }

  function drag(one, side, time) {
    if (side === "start") one.start = Math.max(0, Math.min(time, one.end - SHORTEST));
    else one.end = Math.min(state.data.duration_s, Math.max(time, one.start + SHORTEST));
    one.touched = true;
    emit("edits");
  }

  // Moves an edge to the cursor; beyond the other edge the whole segment moves. Without a selection, the segment under the
  // cursor is meant; where there is none, "start" begins a new one.
  function toCursor(side) {
    const time = player.time();
    const one = selected() || segments().find((other) => other.start <= time && time <= other.end);
    if (!one && side === "start") return add();
    if (!one) return say("Set the start first, or select a correction: click it, or press n.");
    begin();
    const length = one.end - one.start;
    if (side === "start" && time > one.end - SHORTEST) one.end = Math.min(state.data.duration_s, time + length);
    if (side === "end" && time < one.start + SHORTEST) one.start = Math.max(0, time - length);
    choose(one);
    drag(one, side, time);
    end();
  }

  const frame = () => state.data.frame_s || USUAL_FRAME_S;

  function nudge(side, frames) {
    const one = need();
    if (!one) return;
    begin();
    drag(one, side, one[side] + frames * frame());
    player.seek(one[side]);
    end();
  }

  const step = (frames) => player.seek(player.time() + frames * frame());

  function need() {
    const one = selected();
    if (!one) say("Select a correction first: click it, or press n.");
    return one;
  }

  // Goes to the next or the previous correction in time.
  function jump(direction) {
    const all = ordered();
    if (!all.length) return say("No corrections: press a to add one at the cursor.");
    const place = all.indexOf(selected());
    const one = all[Math.max(0, Math.min(all.length - 1, place < 0 ? 0 : place + direction))];
    choose(one);
    player.seek(one.start);
  }

  function usualLabel() {
    const { given } = state.index.videos.find((video) => video.file === state.data.file);
    const likely = (state.data.runs[0].classes[0] || {}).name;
    return $("label").value.trim() || (given || []).find((label) => label) || likely || state.index.classes[0];
  }

  // Adds the selected detection as it is, else a segment at the cursor.
  function add() {
    const label = usualLabel();
    if (!label) return say("Enter a label first.");
    begin();
    const start = Math.min(player.time(), state.data.duration_s - SHORTEST);
    const length = Math.max(1, (state.view[1] - state.view[0]) / 20);
    const found = state.selected && state.selected.kind === "found" ? state.selected.one : null;
    const one = found ? { start: found.start, end: found.end, label: found.label } : { start, end: Math.min(state.data.duration_s, start + length), label };
    one.touched = true;
    segments().push(one);
    choose(one);
    end();
  }

  function relabel(name = $("label").value.trim()) {
    const one = need();
    if (!one || !name) return one && say("Enter a label first.");
    begin();
    one.label = name;
    one.touched = true;
    choose(one);
    end();
  }

  function remove() {
    const one = need();
    if (!one) return;
    begin();
    const after = ordered()[ordered().indexOf(one) + 1];
    segments().splice(segments().indexOf(one), 1);
    choose(after);
    end();
  }

  // States that the selected detection is right, and goes to the next one.
  function accept() {
    const one = need();
    if (!one) return;
    begin();
    one.touched = true;
    if (ordered().at(-1) !== one) jump(1);
    end();
  }

  // The classes of the keys 1 to 9: all, or those of the video if there are more.
  function numbered() {
    const names = state.index.classes.length <= 9 ? state.index.classes : state.data.runs[0].classes.map((one) => one.name);
    return names.slice(0, 9);
  }

  function number(digit) {
    const name = numbered()[digit - 1];
    if (!name) return;
    $("label").value = name;
    if (selected()) relabel(name);
  }

  function setChecked(value) {
    begin();
    record().checked = value;
    end();
  }

  function chosen() {
    const one = selected();
    if (one) $("label").value = one.label;
  }

  const say = (words) => ($("edit-status").textContent = words);

  // All corrected videos, as ground truth with what was deleted and checked.
  function database(files = [...edits.keys()]) {
    const content = { version: "avloc corrections 2", taxonomy: [], database: {} };
    for (const file of files) content.database[edits.get(file).video_id] = statements.written(edits.get(file));
    return content;
  }

  function saveFile() {
    download("corrections.json", database());
    say(`${plural(edits.size, "video")} saved in corrections.json`);
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
        const known = state.index.videos.some((video) => video.file === file && video.video_id === one.video_id);
        if (known && one.proposed) edits.set(file, one);
      }
    } catch {
      /* see above */
    }
  }

  return { setUp, toggle, edits, record, put, segments, begin, end, drag, add, remove, undo, toCursor, nudge, step, jump, accept, numbered, number, setChecked, say, keep, database };
})();

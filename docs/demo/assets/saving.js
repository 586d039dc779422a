"use strict";
// Saves corrections under `avloc view`. Each save names the version of a video that it is based on. What others have saved
// meanwhile is merged if it is about other detections; otherwise a person decides.

avlocPage.saving = (() => {
  const { $, element, plural, clock, state, on, emit, edit, statements } = avlocPage;
  const known = new Map(); // video_id -> what is saved
  const conflicts = new Map(); // file -> what others have saved
  let online = false;
  let queue = Promise.resolve();

  async function setUp() {
    $("save").addEventListener("click", () => save(state.data.file));
    for (const [id, choice] of Object.entries({ "keep-mine": "mine", "take-theirs": "theirs", "keep-both": "both" })) {
      $(id).addEventListener("click", () => resolve(choice));
    }
    on("leave", () => online && unsaved().length && save());
    on("video", showConflict);
    on("edits", () => marks());
    window.addEventListener("focus", refresh);
    document.addEventListener("visibilitychange", () => (document.hidden ? online && unsaved().length && save() : refresh()));
    window.addEventListener("beforeunload", (event) => online && unsaved().length && event.preventDefault());
    online = location.protocol.startsWith("http") && (await refresh(true));
    $("save").hidden = !online;
    marks();
  }

  const fileOf = (video_id) => (state.index.videos.find((video) => video.video_id === video_id) || {}).file;
  const unsaved = () => [...edit.edits].filter(([file, one]) => statements.differs(one) && !conflicts.has(file)).map(([file]) => file);

  // Reads what is saved now, and shows it where nothing was changed here.
  async function refresh(first = false) {
    if (!online && first !== true) return false;
    try {
      const answer = await fetch("/saved");
      if (!answer.ok) throw new Error((await answer.json()).message);
      for (const [video_id, entry] of Object.entries((await answer.json()).videos)) take(video_id, entry);
      marks();
      return true;
    } catch (error) {
      if (online) edit.say(`Cannot read the saved corrections: ${error.message}`);
      return false;
    }
  }

  function take(video_id, entry) {
    known.set(video_id, entry);
    const file = fileOf(video_id);
    const mine = edit.edits.get(file);
    if (!mine || statements.differs(mine) || (mine.base || {}).version === entry.version) return;
    if (state.data && state.data.file === file) adopt(entry, false);
    else edit.edits.delete(file);
  }

  // Replaces the corrections of the video shown.
  function adopt(entry, undoable) {
    if (undoable) edit.begin();
    edit.put(entry);
    state.selected = null;
    edit.end();
  }

  // Saves what is not saved yet, and the named video in any case. One save at a time: the next one is based on the answer
  // to the last.
  function save(file = null) {
    queue = queue.then(() => send(file), () => send(file));
    return queue;
  }

  async function send(asked, tries = 3) {
    const files = unsaved();
    if (asked && !files.includes(asked) && !conflicts.has(asked)) files.push(asked);
    if (!files.length) return;
    edit.say("Saving…");
    const content = edit.database(files);
    const sent = new Map(files.map((file) => [file, { ...statements.of(edit.edits.get(file)) }]));
    content.based_on = Object.fromEntries(files.map((file) => [edit.edits.get(file).video_id, (edit.edits.get(file).base || { version: "" }).version || ""]));
    let answer;
    try {
      const response = await fetch("/corrections", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content) });
      answer = await response.json();
    } catch (error) {
      return edit.say(`not saved: ${error.message}; is avloc view still running?`);
    }
    for (const [video_id, version] of Object.entries(answer.versions || {})) {
      const file = fileOf(video_id);
      const entry = { ...sent.get(file), version };
      known.set(video_id, entry);
      edit.edits.get(file).base = entry;
    }
    edit.say(answer.message);
    const merged = Object.entries(answer.conflicts || {}).filter(([video_id, theirs]) => settle(fileOf(video_id), sent.get(fileOf(video_id)), theirs));
    edit.end();
    showConflict();
    emit("saved");
    if (merged.length && tries) await send(asked, tries - 1).then(() => edit.say(`${plural(merged.length, "video")} merged with corrections made elsewhere meanwhile, and saved`));
  }

  // Merges what others have saved; false if a person must decide.
  function settle(file, mine, theirs) {
    const gone = !theirs.version;
    if (gone) Object.assign(theirs, { checked: false, present: [], deleted: [], untouched: [], points: [] });
    known.set(edit.edits.get(file).video_id, theirs);
    const one = edit.edits.get(file);
    const merged = statements.merge(one.base, statements.of(one), theirs);
    if (!merged) {
      conflicts.set(file, theirs);
      return false;
    }
    replace(file, merged, theirs);
    return true;
  }

  // Sets the statements of a video, based on what is saved. Detections that nobody has touched stay proposed.
  function replace(file, entry, base) {
    const one = edit.edits.get(file);
    if (file === state.data.file) edit.begin();
    const said = [...entry.present, ...entry.deleted];
    const free = one.segments.filter((s) => !s.touched && !entry.checked && !said.some((row) => statements.overlap(row, [s.start, s.end, s.label])));
    one.segments = [...entry.present.map(([start, end, label]) => ({ start, end, label, touched: true })), ...free];
    one.proposed = [...entry.deleted.map(([start, end, label]) => ({ start, end, label })), ...free.map((s) => ({ ...s }))];
    Object.assign(one, { checked: entry.checked, points: entry.points, base });
    if (file === state.data.file) state.selected = null;
  }

  function resolve(choice) {
    const { file } = state.data;
    const theirs = conflicts.get(file);
    if (!theirs) return;
    const mine = statements.of(edit.edits.get(file));
    conflicts.delete(file);
    replace(file, { mine, theirs, both: statements.union(mine, theirs) }[choice], theirs);
    edit.end();
    showConflict();
    $("timeline").focus();
    if (choice === "theirs") edit.say("Took theirs; undo brings yours back.");
    else save();
  }

  function showConflict() {
    const theirs = state.data && conflicts.get(state.data.file);
    const hidden = $("conflict").hidden;
    $("conflict").hidden = !theirs;
    if (!theirs) return;
    if (!state.editing) edit.toggle();
    const mine = statements.of(edit.edits.get(state.data.file));
    list("mine-list", mine, theirs);
    list("theirs-list", theirs, mine);
    if (hidden) $("conflict").focus();
    emit("redraw");
  }

  function list(id, entry, other) {
    const line = (words) => (one) => [`${words}${one[2]}, ${clock(one[0], 2)} to ${clock(one[1], 2)}`, one];
    const lines = [...entry.present.map(line("")), ...entry.deleted.map(line("not there: "))];
    const news = [...statements.without(entry.present, other.present), ...statements.without(entry.deleted, other.deleted)];
    const items = lines.map(([words, one]) => element("li", { dir: "auto" }, news.includes(one) ? element("strong", { textContent: words }) : words));
    $(id).replaceChildren(...(items.length ? items : [element("li", { textContent: "nothing stated" })]), element("li", { className: "quiet", textContent: entry.checked ? "video checked" : "video not checked" }));
  }

  // Whether a video is checked, here or in what is saved.
  function isChecked(video) {
    const mine = edit.edits.get(video.file);
    const entry = known.get(video.video_id);
    return mine ? mine.checked : entry ? entry.checked : Boolean(video.checked);
  }

  // "checked, not saved", for the list of videos.
  function mark(video) {
    const mine = edit.edits.get(video.file);
    const words = isChecked(video) ? ["✓ checked"] : [];
    if (conflicts.has(video.file)) words.push("⚠ conflict");
    else if (online && mine && statements.differs(mine)) words.push("● not saved");
    return words.join(", ");
  }

  function marks() {
    emit("marks");
  }

  return {
    setUp,
    save,
    isChecked,
    mark,
    saved: (video_id) => known.get(video_id),
    online: () => online,
    theirs: () => (state.data ? conflicts.get(state.data.file) : undefined),
    pending: () => queue,
  };
})();

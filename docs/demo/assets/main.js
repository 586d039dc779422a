"use strict";
// Connects the parts: loads the list, opens videos, applies the thresholds.

(() => {
  const { $, element, plural, state, on, emit, script, load, predictions, list, timeline, player, edit, saving, teach, keys, download } = avlocPage;

  async function start() {
    state.index = await load("index");
    document.title = state.index.title;
    $("title").textContent = state.index.title;
    $("summary").textContent = summary();
    $("notes").replaceChildren(...state.index.notes.map((note) => element("p", { dir: "auto", textContent: note })));
    $("compare-box").hidden = state.index.runs.length < 2;
    state.lowest = state.index.likely_from;
    if (state.index.options.some(thresholded)) await script("assets/decode.js");
    for (const part of [list, timeline, player, edit, keys]) part.setUp();
    controls();
    on("choose", open);
    await saving.setUp();
    teach.setUp();
    const wanted = decodeURIComponent(location.hash.slice(1));
    const named = state.index.videos.find((video) => video.video_id === wanted);
    const first = named ? named.file : list.first();
    if (first) await open(first);
    else $("empty").textContent = "This page contains no videos.";
  }

  function summary() {
    const at = state.index.mean_ap.map((scores, i) => {
      const half = (scores["0.50"] ?? null) === null ? "" : `mAP@0.5 ${(100 * scores["0.50"]).toFixed(1)}, `;
      const average = Object.values(scores).reduce((sum, one) => sum + one, 0) / Object.values(scores).length;
      return `${state.index.runs[i]}: ${half}average ${(100 * average).toFixed(1)}`;
    });
    return at.join("   ");
  }

  async function open(file) {
    emit("leave");
    state.file = file;
    $("empty").hidden = false;
    $("empty").textContent = "Loading…";
    const data = await load(file);
    if (state.file !== file) return; // another video was opened meanwhile
    if (!data.unpacked) predictions.unpack(data);
    Object.assign(data, { unpacked: true, file });
    state.data = data;
    state.view = [0, data.duration_s];
    state.selected = null;
    $("empty").hidden = true;
    $("stage").hidden = false;
    $("name").textContent = data.video_id;
    const used = (data.runs[0].modalities || []).map((name) => ({ audio: "audio", visual: "video" })[name]);
    const facts = [avlocPage.clock(data.duration_s, 1), used.length ? `from ${used.join(" and ")}` : "", data.note];
    $("facts").textContent = facts.filter(Boolean).join(" · ");
    given(state.index.videos.find((video) => video.file === file).given, data.runs[0]);
    history.replaceState(null, "", `#${encodeURIComponent(data.video_id)}`);
    thresholds();
    emit("video");
    detect();
    document.body.classList.remove("drawn");
    $("drawer").setAttribute("aria-expanded", "false");
  }

  // The labels given for the video, each with a mark whether a detection that counts as found has it.
  function given(labels, run) {
    $("given").hidden = !labels;
    if (!labels) return;
    const found = [...new Set(run.found.filter((one) => one[3] >= state.index.likely_from).map((one) => one[2]))];
    const marked = labels.map((label) => `${label} (${found.includes(label) ? "found" : "not found"})`);
    const others = found.filter((label) => !labels.includes(label));
    const more = others.length ? `; found, but not given: ${others.join(", ")}` : "";
    $("given").textContent = `Labels given: ${marked.join(", ") || "none, background only"}${more}`;
  }

  // Whether a run can be decoded again here: with the paper's decoder and without smoothing.
  const thresholded = (options) => options.decode === "actions" && !(options.smooth_snippets > 1);
  const adjustable = (run, options) => Boolean(run.grid) && thresholded(options);

  // Sets the range, value and visibility of the sliders.
  function thresholds() {
    const options = state.index.options[0] || {};
    const free = adjustable(state.data.runs[0], options);
    $("factor-box").hidden = !free;
    if (state.factor === null) $("factor").value = String(1 - (options.threshold_factor ?? 0.5));
    const scores = state.data.runs.flatMap((run) => run.found.map((one) => one[3]));
    $("lowest").max = String(Math.max(1, Math.ceil(Math.max(0, ...scores) * 10) / 10));
    $("lowest").value = String(state.lowest);
  }

  // Applies the sliders. The activation threshold is relative, from a curve's minimum to its maximum: 1 - threshold_factor.
  function detect() {
    const { data } = state;
    const all = data.runs.map((run, i) => {
      const options = state.index.options[i] || {};
      const again = state.factor !== null && adjustable(run, options);
      return again ? avlocPage.decode(run, options, 1 - state.factor, data.duration_s) : predictions.asDetected(run);
    });
    state.found = all.map((found) => predictions.match(found.filter((one) => one.score >= state.lowest), data.truth));
    state.weaker = all[0].length - state.found[0].length;
    $("errors").textContent = data.truth ? `${plural(predictions.errors(state.found[0], data.truth), "error")} at t-IoU 0.5 ·` : "";
    if (state.selected && state.selected.kind === "found") state.selected = null;
    $("factor-value").textContent = Number($("factor").value).toFixed(2);
    $("lowest-value").textContent = state.lowest.toFixed(2);
    const lowered = state.lowest < state.index.likely_from;
    $("weaker").hidden = !state.weaker && !lowered;
    $("weaker").textContent = lowered ? "Hide weaker" : `Show ${state.weaker} weaker`;
    $("reset").disabled = state.factor === null && state.lowest === state.index.likely_from;
    emit("found");
  }

  function controls() {
    $("factor").addEventListener("input", () => {
      state.factor = Number($("factor").value);
      detect();
    });
    $("lowest").addEventListener("input", () => {
      state.lowest = Number($("lowest").value);
      detect();
    });
    $("weaker").addEventListener("click", () => {
      state.lowest = state.lowest < state.index.likely_from ? state.index.likely_from : 0;
      thresholds();
      detect();
    });
    $("reset").addEventListener("click", () => {
      state.factor = null;
      state.lowest = state.index.likely_from;
      thresholds();
      detect();
    });
    $("compare").addEventListener("change", () => {
      state.compare = $("compare").checked;
      emit("found");
    });
    $("more").addEventListener("change", () => {
      state.more = $("more").checked;
      emit("redraw");
    });
    $("zoom-in").addEventListener("click", () => timeline.zoom(0.6));
    $("zoom-out").addEventListener("click", () => timeline.zoom(1 / 0.6));
    $("zoom-fit").addEventListener("click", () => timeline.show(0, state.data.duration_s));
    $("previous-video").addEventListener("click", () => list.neighbour(-1));
    $("next-video").addEventListener("click", () => list.neighbour(1));
    $("save-found").addEventListener("click", saveFound);
    $("help-open").addEventListener("click", () => $("help").showModal());
    $("drawer").addEventListener("click", () => {
      const open = document.body.classList.toggle("drawn");
      $("drawer").setAttribute("aria-expanded", String(open));
    });
    theme();
  }

  // Downloads the detections shown, in the schema of ActivityNet submissions.
  function saveFound() {
    const rows = state.found[0].map(({ start, end, label, score }) => ({ label, segment: [start, end].map((t) => Math.round(t * 1000) / 1000), score }));
    download("detections.json", { version: "VERSION 1.3", results: { [state.data.video_id]: rows }, external_data: { used: false, details: "" } });
  }

  function theme() {
    const system = matchMedia("(prefers-color-scheme: dark)");
    let chosen = null;
    const apply = () => {
      const dark = chosen ?? system.matches;
      document.documentElement.dataset.theme = dark ? "dark" : "light";
      $("theme").setAttribute("aria-pressed", String(dark));
      emit("theme");
    };
    system.addEventListener("change", apply);
    $("theme").addEventListener("click", () => {
      chosen = !(chosen ?? system.matches);
      apply();
    });
    apply();
  }

  start().catch((error) => {
    $("empty").hidden = false;
    $("empty").textContent = `Cannot show the page: ${error.message}`;
    throw error;
  });
})();

"use strict";
// Checking video after video, and retraining: progress, the job that `avloc view` runs, and what it changed.

avlocPage.teach = (() => {
  const { $, element, plural, clock, hue, state, on, emit, edit, saving, list } = avlocPage;
  const POLL_MS = 700;
  const STEPS = { start: "Starting", train: "Training", localize: "Localizing" };
  let job = null; // the last retraining, as the server tells it
  let watched = false; // whether it ran while this page was open
  let timer = 0;

  // Name of the result that this page shows: "" or retrained-1.
  const here = () => decodeURIComponent(location.pathname).split("/").slice(1, -1).join("/");

  function setUp() {
    $("check").addEventListener("click", check);
    $("retrain").addEventListener("click", () => act({ action: "start", name: here() }));
    $("cancel").addEventListener("click", () => act({ action: "cancel" }));
    $("show-changes").addEventListener("click", showChanges);
    $("continue").addEventListener("click", () => act({ action: "open", name: job.name }));
    $("show-unchanged").addEventListener("change", fillChanges);
    for (const event of ["marks", "edits", "video"]) on(event, progress);
    progress();
    if (saving.online()) return poll();
  }

  const wanted = () => (state.index.suggested.length ? state.index.videos.filter((video) => list.place(video) !== Infinity) : state.index.videos);

  function progress() {
    $("teach").hidden = !(saving.online() || state.editing || state.index.suggested.length);
    if ($("teach").hidden) return;
    const videos = wanted();
    const done = videos.filter(saving.isChecked).length;
    $("checked-count").textContent = `${done} of ${state.index.suggested.length ? plural(videos.length, "suggested video") : plural(videos.length, "video")} checked`;
    $("checked-bar").max = Math.max(1, videos.length);
    $("checked-bar").value = done;
    const current = state.index.videos.find((video) => video.file === state.file);
    $("check").setAttribute("aria-pressed", String(Boolean(current && edit.edits.has(state.file) && saving.isChecked(current))));
  }

  // The video is right as it is shown: saves it, and goes to the next one that is not checked.
  function check() {
    if (saving.theirs()) return edit.say("Decide first which corrections to keep.");
    if (!state.editing) edit.toggle();
    edit.setChecked(true);
    const saved = saving.online() ? saving.save(state.data.file) : Promise.resolve();
    if (list.unchecked(saving.isChecked)) return;
    const all = `All ${state.index.suggested.length ? "suggested " : ""}videos are checked.`;
    saved.then(() => edit.say(`${$("edit-status").textContent} ${all}`));
  }

  function uncheck() {
    if (!edit.edits.has(state.data.file) || !edit.record().checked) return;
    edit.setChecked(false);
    if (saving.online()) saving.save(state.data.file);
  }

  async function act(content) {
    clearTimeout(timer);
    if (content.action === "start") await saving.save();
    try {
      const answer = await fetch("/job", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content) });
      const told = await answer.json();
      if (told.message) {
        $("job-status").textContent = told.message;
        timer = setTimeout(poll, 5 * POLL_MS);
      } else show(told);
    } catch (error) {
      $("job-status").textContent = `${error.message}; is avloc view still running?`;
    }
  }

  async function poll() {
    try {
      const answer = await fetch("/job");
      if (answer.ok) show(await answer.json());
    } catch {
      $("job-status").textContent = "avloc view does not answer; start it again and reload the page.";
      timer = setTimeout(poll, 5 * POLL_MS);
    }
  }

  function show(told) {
    clearTimeout(timer);
    const before = job;
    job = told.job;
    const status = job ? job.status : "";
    const running = status === "running";
    watched = watched || running;
    const opening = job && job.page && !job.page.ready && !job.page.problem;
    $("retrain").hidden = running;
    $("retrain").setAttribute("aria-disabled", String(!told.possible));
    $("retrain").disabled = !told.possible;
    $("cancel").hidden = !running;
    $("job-bar").hidden = !running && !opening;
    const [done, total] = opening ? [job.page.done, job.page.total] : running ? [job.done, job.total] : [0, 0];
    if (total) $("job-bar").max = total;
    if (total) $("job-bar").value = done;
    else $("job-bar").removeAttribute("value");
    $("job-status").textContent = told.problem || words(told, done, total);
    const finished = status === "finished" && job.changes;
    $("show-changes").hidden = !finished;
    $("continue").hidden = !finished || here() === job.name || Boolean(opening);
    if (finished) $("continue").textContent = `Continue with ${job.name}`;
    if (finished && before && before.status === "running") {
      fillChanges();
      showChanges();
    }
    if (opening && job.page.ready === false) timer = setTimeout(poll, POLL_MS);
    if (running) timer = setTimeout(poll, POLL_MS);
    if (job && job.page && job.page.ready && before && before.page && !before.page.ready) location.href = page();
    if ($("changes").open) fillChanges();
  }

  function words(told, done, total) {
    if (!job) return told.possible ? "" : told.why;
    if (job.page && job.page.problem) return `${job.name} cannot be shown: ${job.page.problem}`;
    if (job.page && !job.page.ready) return `Making the page of ${job.name}: ${done} of ${total || "?"}`;
    if (job.status === "running") return `${STEPS[job.step] || job.step}${total ? `: ${done} of ${total}` : "…"}`;
    if (job.status === "finished") return job.changes ? `${job.name}: ${sum()}` : "";
    const reasons = { cancelled: "Retraining cancelled; nothing was changed.", failed: `Retraining failed: ${job.message}`, stopped: `Retraining stopped before it was done: ${job.message}` };
    return reasons[job.status] || job.status;
  }

  const page = (video_id) => `/${job.name}/index.html${video_id ? `#${encodeURIComponent(video_id)}` : location.hash}`;

  function sum() {
    const all = Object.values(job.changes);
    const total = (name) => all.reduce((so_far, one) => so_far + one[name], 0);
    const changed = all.filter((one) => one.moved + one.added + one.lost).length;
    return `${changed} of ${plural(all.length, "video")} changed; ${plural(total("moved"), "detection")} moved, ${total("added")} added, ${total("lost")} lost, ${total("same")} the same`;
  }

  function showChanges() {
    fillChanges();
    if (!$("changes").open) $("changes").showModal();
  }

  function fillChanges() {
    if (!job || !job.changes) return;
    $("changes-title").textContent = `What ${job.name} changed`;
    $("changes-sum").textContent = `${sum()}. Detections that count as found, the old above the new.${job.message ? ` ${job.message}` : ""}`;
    const size = (one) => one.moved + one.added + one.lost;
    const rows = Object.entries(job.changes)
      .filter(([, one]) => $("show-unchanged").checked || size(one))
      .sort(([a, one], [b, other]) => size(other) - size(one) || other.shift_s - one.shift_s || a.localeCompare(b, undefined, { numeric: true }));
    $("changes-rows").replaceChildren(...rows.map(([video_id, one]) => changeRow(video_id, one)));
  }

  function changeRow(video_id, one) {
    const video = state.index.videos.find((other) => other.video_id === video_id);
    const length = Math.max(video ? video.duration_s : 0, ...[...one.before, ...one.after].map((row) => row[1]), 0.1);
    const ready = job.page && job.page.ready;
    const name = element("a", { href: ready ? page(video_id) : `#${encodeURIComponent(video_id)}`, textContent: video_id, dir: "auto" });
    name.addEventListener("click", (event) => {
      if (ready || !video) return;
      event.preventDefault();
      $("changes").close();
      emit("choose", video.file);
    });
    const moved = one.moved ? `${one.moved} (by ${one.shift_s.toFixed(2)} s)` : "0";
    return element(
      "tr",
      {},
      element("th", {}, name),
      element("td", {}, bars(one.before, length, "before"), bars(one.after, length, "after")),
      ...[moved, one.added, one.lost, one.same].map((value) => element("td", { textContent: String(value) })),
    );
  }

  function bars(rows, length, when) {
    const text = rows.map(([start, end, label]) => `${label} ${clock(start, 1)} to ${clock(end, 1)}`).join("; ") || "nothing";
    const strip = element("div", { className: "bars", role: "img", "aria-label": `${when}: ${text}`, title: `${when}: ${text}` });
    for (const [start, end, label] of rows) {
      const bar = element("span", { style: { left: `${(100 * start) / length}%`, width: `${(100 * (end - start)) / length}%` } });
      bar.style.setProperty("--hue", String(hue(label)));
      strip.append(bar);
    }
    return strip;
  }

  return { setUp, check, uncheck };
})();

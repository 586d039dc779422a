"use strict";
// The video, its clock and the list of detections. Without a video file, clicks and keys still move the clock.

avlocPage.player = (() => {
  const { $, element, plural, state, on, emit, clock, predictions, timeline } = avlocPage;
  const video = () => $("video");
  let still = 0; // time in seconds, when there is no video
  let playing = false;
  let until = null;

  function setUp() {
    for (const event of ["timeupdate", "seeking", "seeked"]) video().addEventListener(event, update);
    video().addEventListener("play", () => mark(true));
    video().addEventListener("pause", () => mark(false));
    video().addEventListener("error", () => showProblem(unplayable()));
    video().addEventListener("loadedmetadata", () => {
      if (!video().videoWidth) showProblem("This browser plays only the audio of the file. Rebuild the page with --proxy always.");
    });
    $("play").addEventListener("click", toggle);
    $("next").addEventListener("click", () => jump(1));
    $("previous").addEventListener("click", () => jump(-1));
    $("order").addEventListener("change", list);
    on("video", open);
    on("found", list);
    on("selected", markRow);
  }

  function open() {
    const { data } = state;
    still = 0;
    until = null;
    video().pause();
    video().hidden = !data.media;
    requestAnimationFrame(update);
    $("no-video").hidden = Boolean(data.media);
    if (data.media) {
      video().src = data.media;
      const sprite = data.thumbs;
      video().setAttribute("aria-label", `video ${data.video_id}`);
      if (sprite) video().style.aspectRatio = `${sprite.width} / ${sprite.height}`;
    } else {
      video().removeAttribute("src");
      video().load();
      $("no-video").textContent = data.note || "No video file is known. Rebuild the page with --videos FOLDER.";
    }
  }

  // A file that is not there gives the same code as one that cannot be played; only the latter is opened by a demuxer.
  function unplayable() {
    const file = decodeURIComponent(state.data ? state.data.media : "");
    const { code, message } = video().error;
    const opened = code === MediaError.MEDIA_ERR_DECODE || /demux|decode/i.test(message);
    return opened
      ? "This browser cannot play the file. Rebuild the page with --proxy always."
      : `Video not found: ${file}. If it has moved, rebuild the page with --videos FOLDER; if it is there, this browser cannot play it: --proxy always.`;
  }

  function showProblem(words) {
    if (!state.data || !state.data.media) return;
    $("no-video").textContent = words;
    $("no-video").hidden = false;
  }

  const time = () => (state.data && state.data.media ? video().currentTime : still);

  function seek(seconds) {
    const bounded = Math.max(0, Math.min(state.data.duration_s, seconds));
    until = null;
    if (state.data.media) video().currentTime = bounded;
    still = bounded;
    update();
  }

  function mark(now) {
    playing = now;
    $("play").textContent = now ? "Pause" : "Play";
    if (now) requestAnimationFrame(frame);
  }

  function frame() {
    if (!playing) return;
    update();
    timeline.follow(time());
    if (until !== null && time() >= until) {
      until = null;
      video().pause();
    }
    requestAnimationFrame(frame);
  }

  function update() {
    if (!state.data) return;
    $("clock").textContent = `${clock(time(), 2)} / ${clock(state.data.duration_s, 1)}`;
    emit("time");
  }

  function toggle() {
    until = null;
    if (!state.data.media) return;
    if (video().paused) video().play().catch((error) => showProblem(String(error.message)));
    else video().pause();
  }

  const ordered = () => [...state.found[0]].sort((a, b) => a.start - b.start || b.score - a.score);

  // Goes to the next or the previous detection in time.
  function jump(step) {
    const chosen = state.selected && state.selected.kind === "found" ? state.selected.one : null;
    const all = ordered();
    if (!all.length) return;
    let place = chosen ? all.indexOf(chosen) + step : -1;
    if (!chosen) place = step > 0 ? all.findIndex((one) => one.start > time() - 1e-3) : all.findLastIndex((one) => one.start < time());
    goTo(all[Math.max(0, Math.min(all.length - 1, place))]);
  }

  function goTo(one) {
    timeline.select({ kind: "found", run: 0, one, label: one.label });
    seek(one.start);
    const [from, to] = state.view;
    if (one.start < from || one.end > to) timeline.show(one.start - (to - from) / 4, one.start + ((to - from) * 3) / 4);
  }

  function list() {
    const run = state.data.runs[0];
    const hidden = state.weaker ? `, ${state.weaker} hidden` : "";
    $("found-title").textContent = `${plural(state.found[0].length, "detection")}${hidden}${state.data.runs.length > 1 ? ` · ${run.name}` : ""}`;
    const shown = $("order").value === "time" ? ordered() : [...state.found[0]].sort((a, b) => b.score - a.score);
    $("found-list").replaceChildren(
      ...shown.map((one) => {
        const words = element("span", { className: "words" });
        const mark = one.hit === undefined ? "" : one.hit ? "✓ " : "✗ ";
        words.append(
          element("span", { className: "title", dir: "auto", textContent: mark + one.label }),
          element("span", { className: "quiet", textContent: `${clock(one.start, 2)} to ${clock(one.end, 2)}` }),
        );
        const detail = modalities(run, one);
        if (detail) words.append(element("span", { className: "quiet", textContent: detail }));
        const button = element("button", { onclick: () => goTo(one) }, words, element("span", { className: "score", textContent: one.score.toFixed(2) }));
        if (one.hit !== undefined) button.title = one.hit ? "matches the ground truth at t-IoU 0.5" : "matches no instance at t-IoU 0.5";
        button.one = one;
        return element("li", {}, button);
      }),
    );
    markRow();
  }

  // "mainly audio: audio 0.81, video 0.12, both 0.77"
  function modalities(run, one) {
    const mean = predictions.modalities(run, one);
    if (!mean) return "";
    const words = [];
    if (mean.audio !== undefined) words.push(`audio ${mean.audio.toFixed(2)}`);
    if (mean.visual !== undefined) words.push(`video ${mean.visual.toFixed(2)}`);
    words.push(`both ${mean.fused.toFixed(2)}`);
    const both = mean.audio !== undefined && mean.visual !== undefined;
    const stronger = both && Math.abs(mean.audio - mean.visual) > 0.15 ? (mean.audio > mean.visual ? "mainly audio: " : "mainly video: ") : "";
    return stronger + words.join(", ");
  }

  function markRow() {
    const chosen = state.selected && state.selected.one;
    document.querySelectorAll("#found-list button").forEach((button) => {
      if (button.one === chosen) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    });
  }

  function playSelected() {
    if (!state.selected || !state.data.media) return;
    seek(state.selected.one.start);
    until = state.selected.one.end;
    video().play().catch(() => {});
  }

  return { setUp, time, seek, toggle, jump, playSelected };
})();

"use strict";
// The list of videos: search, filter by class, sort. Thumbnails load when scrolled into view.

avlocPage.list = (() => {
  const { $, element, plural, clock, state, emit, on } = avlocPage;
  let shown = [];

  const place = (video) => (state.places.has(video.video_id) ? state.places.get(video.video_id) : Infinity);

  const orders = {
    suggested: (a, b) => Math.min(place(a), 1e9) - Math.min(place(b), 1e9),
    name: (a, b) => a.video_id.localeCompare(b.video_id, undefined, { numeric: true }),
    score: (a, b) => (b.score ?? -1) - (a.score ?? -1),
    errors: (a, b) => (b.errors ?? -1) - (a.errors ?? -1),
    t_iou: (a, b) => (a.mean_t_iou ?? 2) - (b.mean_t_iou ?? 2),
    duration: (a, b) => b.duration_s - a.duration_s,
  };

  function setUp() {
    const classes = state.index.classes;
    $("filter").append(
      element("option", { value: "", textContent: "all" }),
      ...classes.map((name, i) => element("option", { value: String(i), textContent: name, dir: "auto" })),
    );
    if (!state.index.videos.some((video) => video.errors !== null)) {
      document.querySelectorAll(".needs-truth").forEach((option) => option.remove());
    }
    state.places = new Map(state.index.suggested.map((video_id, i) => [video_id, i]));
    if (!state.places.size) $("sort").querySelector("[value=suggested]").remove();
    for (const id of ["search", "filter", "sort"]) $(id).addEventListener("input", fill);
    on("video", mark);
    on("marks", notes);
    fill();
  }

  function fill() {
    const words = $("search").value.trim().toLowerCase();
    const wanted = $("filter").value === "" ? null : state.index.classes[Number($("filter").value)];
    shown = state.index.videos
      .filter((video) => video.video_id.toLowerCase().includes(words))
      .filter((video) => wanted === null || video.labels.includes(wanted))
      .sort((a, b) => orders[$("sort").value](a, b) || orders.name(a, b));
    $("videos").replaceChildren(...shown.map(row));
    const all = state.index.videos.length;
    const least = state.index.likely_from;
    const counted = least ? `; detections with score ≥ ${least}` : "";
    $("count").textContent = (shown.length === all ? plural(all, "video") : `${shown.length} of ${plural(all, "video")}`) + counted;
    mark();
    notes();
  }

  // Whether each video is checked and saved.
  function notes() {
    const { saving } = avlocPage;
    if (!saving) return;
    document.querySelectorAll("#videos button").forEach((button, i) => (button.querySelector(".mark").textContent = saving.mark(shown[i])));
  }

  function row(video) {
    const rank = place(video) === Infinity ? [] : [`suggested ${place(video) + 1}`];
    const facts = [...rank, clock(video.duration_s, 0), plural(video.count, "detection")];
    if (video.score !== null) facts.push(`best ${video.score.toFixed(2)}`);
    if (video.errors !== null) facts.push(plural(video.errors, "error"));
    if (video.mean_t_iou !== null) facts.push(`t-IoU ${video.mean_t_iou.toFixed(2)}`);
    const poster = element("span", { className: "poster", "aria-hidden": "true" });
    poster.dataset.file = video.file;
    if (video.picture) near.observe(poster);
    const words = element(
      "span",
      { className: "words" },
      element("span", { className: "title", dir: "auto", textContent: video.video_id }),
      element("span", { className: "quiet", dir: "auto", textContent: video.labels.join(", ") || "no detections" }),
      video.given ? element("span", { className: "quiet", dir: "auto", textContent: `given: ${video.given.join(", ") || "no label"}` }) : null,
      element("span", { className: "quiet", textContent: facts.join(" · ") }),
      element("span", { className: "mark" }),
    );
    const button = element("button", { onclick: () => emit("choose", video.file) }, poster, words);
    button.dataset.file = video.file;
    return element("li", {}, button);
  }

  // The poster is the fifth thumbnail of the sprite's first row of ten, cropped by the style sheet.
  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      target.style.backgroundImage = `url("thumbs/${target.dataset.file}.jpg")`;
    }
  });

  function mark() {
    document.querySelectorAll("#videos button").forEach((button) => {
      const current = button.dataset.file === state.file;
      if (current) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
      if (current) button.scrollIntoView({ block: "nearest" });
    });
  }

  function neighbour(step) {
    const place = shown.findIndex((video) => video.file === state.file);
    const next = shown[place < 0 ? 0 : place + step];
    if (next) emit("choose", next.file);
  }

  // Opens the next video that is not checked, suggested ones first; false if there is none.
  function unchecked(isChecked) {
    const at = shown.findIndex((video) => video.file === state.file);
    const ahead = [...shown.slice(at + 1), ...shown.slice(0, Math.max(0, at))].filter((video) => !isChecked(video));
    const next = ahead.find((video) => place(video) !== Infinity) || (state.places.size ? null : ahead[0]);
    if (next) emit("choose", next.file);
    return Boolean(next);
  }

  return { setUp, neighbour, unchecked, place, first: () => shown[0]?.file };
})();

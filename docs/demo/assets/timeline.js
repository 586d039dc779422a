"use strict";
// The timeline: lays out and draws the rows; pointer and wheel set time, zoom and selection.

avlocPage.timeline = (() => {
  const { $, element, state, on, emit, clock, draw } = avlocPage;
  const EDGE = 7; // pixels around an edge within which it can be dragged
  const NARROW = 700; // below this width, row names are above the rows instead of beside them
  let rows = [];
  let pen = null;
  let pending = false;
  let grip = null; // {one, side} of the correction being dragged, or {scrub: true}
  const fingers = new Map();

  function setUp() {
    for (const event of ["video", "found", "view", "theme", "redraw", "edits", "selected"]) on(event, request);
    on("time", cursor);
    new ResizeObserver(request).observe($("timeline"));
    const canvas = $("rows");
    canvas.addEventListener("pointerdown", down);
    canvas.addEventListener("pointermove", move);
    for (const event of ["pointerup", "pointercancel"]) canvas.addEventListener(event, up);
    canvas.addEventListener("pointerleave", () => ($("hint").hidden = true));
    canvas.addEventListener("wheel", wheel, { passive: false });
  }

  function request() {
    if (pending || !state.data) return;
    pending = true;
    requestAnimationFrame(() => {
      pending = false;
      redraw();
    });
  }

  function redraw() {
    const canvas = $("rows");
    const width = $("timeline").clientWidth;
    const narrow = width < NARROW;
    const gutter = narrow ? 0 : 170;
    const caption = (row) => (narrow && row.name && row.kind !== "heading" ? 15 : 0);
    rows = draw.rows();
    let height = 0;
    for (const row of rows) {
      row.top = height + caption(row);
      height = row.top + row.height;
    }
    const ratio = window.devicePixelRatio || 1;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    canvas.style.height = `${height}px`;
    pen = draw.makePen(canvas, width, gutter, draw.colours());
    const { context, theme } = pen;
    context.scale(ratio, ratio);
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    rows.forEach((row, i) => {
      if (i % 2) {
        context.fillStyle = theme.row;
        context.fillRect(gutter, row.top, width - gutter, row.height);
      }
      row.draw(pen, row);
      if (row.kind !== "heading" && row.name) named(row, gutter, narrow);
    });
    cursor();
    describe();
  }

  function named(row, gutter, narrow) {
    const { context, theme } = pen;
    const words = row.note ? `${row.name} · ${row.note}` : row.name;
    context.fillStyle = row.kind === "found" || row.kind === "truth" ? theme.ink : theme.quiet;
    if (narrow) {
      context.fillText(words, 2, row.top - 7);
      return;
    }
    context.textAlign = "left";
    context.fillText(draw.fitted(context, words, gutter - 12), 2, row.top + row.height / 2);
  }

  function cursor() {
    if (!pen || !state.data) return;
    const time = avlocPage.player.time();
    const inside = time >= state.view[0] - 1e-6 && time <= state.view[1] + 1e-6;
    $("cursor").style.display = inside ? "block" : "none";
    $("cursor").style.transform = `translateX(${pen.x(time)}px)`;
    $("timeline").setAttribute("aria-valuenow", time.toFixed(2));
    $("timeline").setAttribute("aria-valuetext", spoken(time));
  }

  // Text for screen readers: the time and the detections there.
  function spoken(time) {
    const here = state.found[0].filter((one) => one.start <= time && time < one.end);
    const words = here.map((one) => `${one.label}, score ${one.score.toFixed(2)}`).join("; ");
    return `${clock(time)}${words ? `: ${words}` : ""}`;
  }

  function describe() {
    $("timeline").setAttribute("aria-valuemax", state.data.duration_s.toFixed(2));
    const run = state.data.runs[0];
    const parts = ["✓ solid outline: matches the ground truth at t-IoU 0.5; ✗ dashed outline: does not."];
    if (!state.data.truth) parts.length = 0;
    if (run.grid) parts.push("Strip height: probability, 0 to 1.");
    if (run.fold > 1) parts.push(`Each step of a strip is the maximum of ${run.fold} snippets.`);
    if (run.grid && run.class_count > run.classes.length) parts.push(`The page contains ${run.classes.length} of ${run.class_count} classes.`);
    $("legend").textContent = parts.join(" ");
    const named = new Set(rows.flatMap((row) => [row.name, row.note]));
    if (state.index.likely_from) named.add("score"); // scores of the other decoders are no probabilities
    const terms = Object.entries(draw.TERMS).filter(([term]) => named.has(term));
    $("terms").replaceChildren(...terms.flatMap(([term, words]) => [element("dt", { textContent: term }), element("dd", { textContent: words })]));
  }

  function show(from, to) {
    const whole = state.data.duration_s;
    const length = Math.min(whole, Math.max(0.5, to - from));
    const start = Math.max(0, Math.min(whole - length, from));
    state.view = [start, start + length];
    emit("view");
  }

  function zoom(factor, centre = avlocPage.player.time()) {
    const [from, to] = state.view;
    const middle = centre < from || centre > to ? (from + to) / 2 : centre;
    show(middle - (middle - from) * factor, middle + (to - middle) * factor);
  }

  function pan(seconds) {
    show(state.view[0] + seconds, state.view[1] + seconds);
  }

  // Moves the view page by page during playback.
  function follow(time) {
    const [from, to] = state.view;
    if (time > to) show(time, time + to - from);
    else if (time < from) show(time - (to - from) / 10, time + ((to - from) * 9) / 10);
  }

  function place(event) {
    const bounds = $("rows").getBoundingClientRect();
    const x = event.clientX - bounds.left;
    const y = event.clientY - bounds.top;
    const row = rows.find((one) => y >= one.top && y < one.top + one.height);
    return { x, y, row, time: Math.max(0, Math.min(state.data.duration_s, pen.t(x))) };
  }

  function hit({ x, y, row }) {
    if (!row || !row.items) return null;
    const lane = Math.floor((y - row.top - 3) / draw.BAR);
    const slack = row.kind === "edit" ? EDGE : 0;
    return row.items.find((one) => row.places.get(one) === lane && pen.x(one.start) - slack <= x && x <= Math.max(pen.x(one.end), pen.x(one.start) + 2) + slack) || null;
  }

  function edgeOf(one, x) {
    if (Math.abs(x - pen.x(one.end)) <= EDGE) return "end";
    return Math.abs(x - pen.x(one.start)) <= EDGE ? "start" : null;
  }

  function down(event) {
    if (!state.data || event.button > 0) return;
    $("rows").setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, event.clientX);
    if (fingers.size > 1) {
      grip = null;
      return;
    }
    const at = place(event);
    const one = hit(at);
    select(one ? { kind: at.row.kind, run: at.row.run, one, label: one.label } : null);
    const side = one && at.row.kind === "edit" ? edgeOf(one, at.x) : null;
    grip = side ? { one, side } : { scrub: true };
    if (side) avlocPage.edit.begin();
    else avlocPage.player.seek(at.time);
  }

  function move(event) {
    if (!pen) return;
    if (fingers.size === 2 && fingers.has(event.pointerId)) return pinch(event);
    const at = place(event);
    if (!grip) return hover(event, at);
    if (grip.scrub) avlocPage.player.seek(at.time);
    else avlocPage.edit.drag(grip.one, grip.side, at.time);
  }

  function up(event) {
    fingers.delete(event.pointerId);
    if (grip && grip.one) avlocPage.edit.end();
    grip = null;
  }

  function pinch(event) {
    const [a, b] = [...fingers.values()];
    const before = Math.abs(a - b);
    fingers.set(event.pointerId, event.clientX);
    const [c, d] = [...fingers.values()];
    const bounds = $("rows").getBoundingClientRect();
    if (Math.abs(c - d) > 5) zoom(before / Math.abs(c - d), pen.t((c + d) / 2 - bounds.left));
  }

  function hover(event, at) {
    const hint = $("hint");
    const one = hit(at);
    $("rows").style.cursor = one && at.row.kind === "edit" && edgeOf(one, at.x) ? "ew-resize" : "pointer";
    hint.hidden = !at.row || event.pointerType === "touch";
    if (hint.hidden) return;
    const meaning = at.row && at.x < pen.gutter ? draw.TERMS[at.row.name] || draw.TERMS[at.row.note] : null;
    const words = meaning ? [`${at.row.name}: ${meaning}`] : [clock(at.time, 2)];
    if (one) words.push(`${one.label}  ${clock(one.start, 3)} to ${clock(one.end, 3)}`);
    if (one && one.score !== undefined) words.push(`score ${one.score.toFixed(3)}`);
    if (one && one.overlap !== undefined) words.push(`t-IoU ${one.overlap.toFixed(2)}`);
    if (at.row.strip && !meaning) words.push(`${at.row.name} ${valueAt(at.row, at.time).toFixed(2)}`);
    hint.textContent = words.join("  ·  ");
    const bounds = $("timeline").getBoundingClientRect();
    hint.style.left = `${Math.max(0, Math.min(event.clientX - bounds.left + 12, bounds.width - hint.offsetWidth - 4))}px`;
    hint.style.top = `${event.clientY - bounds.top + 18}px`;
  }

  function valueAt(row, time) {
    const [start, step] = state.data.runs[row.run].grid;
    const i = Math.max(0, Math.min(row.strip.length - 1, Math.floor((time - start) / step)));
    return row.strip[i] / 255;
  }

  function wheel(event) {
    if (!state.data) return;
    const span = state.view[1] - state.view[0];
    if (event.ctrlKey || event.altKey) zoom(Math.exp(event.deltaY / 300), place(event).time);
    else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan(((event.deltaX || event.deltaY) / 600) * span);
    else return; // the page scrolls
    event.preventDefault();
  }

  function select(selected) {
    state.selected = selected;
    emit("selected");
  }

  const isSelected = (row, one) => Boolean(state.selected) && state.selected.kind === row.kind && state.selected.one === one;
  const layout = () => rows.map(({ kind, name, top, height, run, items }) => ({ kind, name, top, height, run, count: items && items.length }));

  return { setUp, show, zoom, pan, follow, select, isSelected, layout, x: (time) => pen.x(time) };
})();

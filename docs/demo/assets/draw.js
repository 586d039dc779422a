"use strict";
// The rows of the timeline and how each is drawn. A row is {kind, name, height, draw(pen, row)}.
// Colour is never the only cue: ground truth is hatched, a correct detection has a check mark and a solid outline, a false
// one a cross and a dashed outline, and the height of a strip is a probability.

avlocPage.draw = (() => {
  const { state, hue, clock } = avlocPage;
  const SHOWN = 5; // number of strips unless "All classes" is checked
  const BAR = 22;

  // What the rows mean, in plain words: under the timeline, and as a hint on the names of the rows.
  const TERMS = {
    activation: "how sure the model is, second by second, that the class is seen or heard. The higher, the surer.",
    "reliability μ": "how sure the model is that anything of the classes happens at all. Low means background.",
    "audio only": "the activation of the class when the model is given the audio alone.",
    "video only": "the activation of the class when the model is given the frames alone.",
    both: "the activation of the class from audio and frames together, from which the detections are made.",
    "look at": "where the model is least certain what happens.",
    score: "how likely the detection is right, by the model's own estimate; not a guarantee.",
  };

  // What a row needs for drawing: the context, the colours, seconds to pixels and back.
  function makePen(canvas, width, gutter, theme) {
    const context = canvas.getContext("2d");
    const [from, to] = state.view;
    const scale = (width - gutter) / Math.max(to - from, 1e-6);
    return { context, width, gutter, theme, from, to, x: (t) => gutter + (t - from) * scale, t: (x) => from + (x - gutter) / scale };
  }

  function colours() {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(name).trim();
    return { ink: of("--ink"), quiet: of("--quiet"), line: of("--line"), paper: of("--paper"), row: of("--row"), accent: of("--accent"), light: of("--light") };
  }

  function lanes(segments) {
    const ends = [];
    const places = new Map();
    for (const one of [...segments].sort((a, b) => a.start - b.start || a.end - b.end)) {
      let lane = ends.findIndex((end) => end <= one.start + 1e-6);
      if (lane < 0) lane = ends.length;
      ends[lane] = one.end;
      places.set(one, lane);
    }
    return { places, count: Math.max(1, ends.length) };
  }

  function rows() {
    const { data } = state;
    const made = [{ kind: "ruler", name: "", height: 22, draw: ruler }];
    if (data.thumbs) made.push({ kind: "thumbs", name: "video", height: 46, draw: thumbs });
    if (state.editing && (data.look_at || []).length) made.push({ kind: "look", name: "look at", height: 16, draw: lookAt });
    if (data.waveform) made.push({ kind: "waveform", name: "audio", height: 38, draw: waveform });
    if (data.truth) {
      const items = data.truth.map(([start, end, label], place) => ({ start, end, label, place }));
      made.push(segmentRow("truth", "ground truth", items));
    }
    if (state.editing) made.push(segmentRow("edit", "corrections", avlocPage.edit.segments()));
    const theirs = state.editing && avlocPage.saving.theirs();
    if (theirs) made.push(segmentRow("theirs", "theirs", theirs.present.map(([start, end, label]) => ({ start, end, label }))));
    data.runs.forEach((run, place) => {
      if (place === 0 || state.compare) made.push(...runRows(run, place));
    });
    return made;
  }

  function segmentRow(kind, name, items, run = 0) {
    const { places, count } = lanes(items);
    return { kind, name, items, places, run, height: count * BAR + 6, draw: segments };
  }

  function runRows(run, place) {
    const made = [];
    const found = state.found[place];
    if (state.data.runs.length > 1) made.push({ kind: "heading", name: run.name, height: 24, draw: heading });
    for (const label of new Set(found.map((one) => one.label))) {
      const items = found.filter((one) => one.label === label);
      made.push(segmentRow("found", label, items, place));
    }
    if (!found.length) made.push({ kind: "nothing", name: "detections", height: 24, draw: nothing });
    if (!run.grid) return made;
    const wanted = state.more ? run.classes : run.classes.slice(0, SHOWN);
    for (const one of wanted) {
      made.push({ kind: "strip", name: one.name, note: "activation", strip: one.fused, run: place, label: one.name, height: 24, draw: strip });
    }
    made.push({ kind: "strip", name: "reliability μ", strip: run.reliability, run: place, label: null, height: 30, draw: strip });
    return made.concat(modalityRows(run, place));
  }

  // Activations of the selected class, or the first detection's, from audio alone, video alone and both.
  function modalityRows(run, place) {
    const chosen = state.selected && state.selected.label;
    const label = chosen || (state.found[place][0] || {}).label;
    const one = run.classes.find((c) => c.name === label);
    if (!one || !(one.audio || one.visual)) return [];
    const parts = [["audio", "audio only"], ["visual", "video only"], ["fused", "both"]];
    return parts
      .filter(([key]) => one[key])
      .map(([key, name]) => ({ kind: "strip", name, note: label, strip: one[key], run: place, label, height: 20, draw: strip }));
  }

  function ruler({ context, width, gutter, theme, from, to, x }) {
    const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
    const step = steps.find((s) => (s / (to - from)) * (width - gutter) > 74) || 7200;
    context.fillStyle = theme.quiet;
    context.strokeStyle = theme.line;
    context.textAlign = "left";
    for (let t = Math.ceil(from / step) * step; t <= to; t += step) {
      const here = Math.round(x(t)) + 0.5;
      context.beginPath();
      context.moveTo(here, 14);
      context.lineTo(here, 22);
      context.stroke();
      if (here < width - 30) context.fillText(clock(t, step < 1 ? 1 : 0), here + 3, 10);
    }
  }

  function lookAt({ context, theme, width, gutter, x }, row) {
    context.fillStyle = theme.accent;
    for (const [start, end] of state.data.look_at) {
      const left = Math.max(gutter, x(start));
      context.fillRect(left, row.top + 5, Math.max(2, Math.min(width, x(end)) - left), 6);
    }
  }

  const images = new Map(); // url -> Image

  function thumbs(pen, row) {
    const { context, width, gutter, t } = pen;
    const sprite = state.data.thumbs;
    const image = images.get(sprite.url) || new Image();
    if (!images.has(sprite.url)) {
      images.clear();
      images.set(sprite.url, image);
      image.onload = () => avlocPage.emit("redraw");
      image.src = sprite.url;
    }
    if (!image.complete || !image.naturalWidth) return;
    const each = Math.max(24, (row.height * sprite.width) / sprite.height);
    for (let left = gutter; left < width; left += each) {
      const k = Math.max(0, Math.min(sprite.count - 1, Math.floor(t(left + each / 2) / sprite.step_s)));
      const shownWidth = Math.min(each, width - left);
      const taken = (sprite.width * shownWidth) / each;
      const from = [(k % sprite.columns) * sprite.width, Math.floor(k / sprite.columns) * sprite.height];
      context.drawImage(image, ...from, taken, sprite.height, left, row.top + 1, shownWidth, row.height - 2);
    }
  }

  // Calls action(px, value) with the maximum under each pixel, so that a long video loses no peak.
  function columns(values, start, step, pen, action) {
    const { width, gutter, t } = pen;
    for (let px = gutter; px < width; px++) {
      // the last snippet extends to the end of the video
      const first = Math.min(values.length - 1, Math.max(0, Math.floor((t(px) - start) / step)));
      const stop = Math.min(values.length, Math.max(first + 1, Math.ceil((t(px + 1) - start) / step)));
      let high = 0;
      for (let i = first; i < stop; i++) if (values[i] > high) high = values[i];
      if (high) action(px, high);
    }
  }

  function waveform(pen, row) {
    const { context, theme } = pen;
    const values = state.data.waveform;
    context.fillStyle = theme.quiet;
    columns(values, 0, state.data.duration_s / values.length, pen, (px, high) => {
      const tall = Math.max(1, (Math.sqrt(high / 255) * (row.height - 6)));
      context.fillRect(px, row.top + (row.height - tall) / 2, 1, tall);
    });
  }

  function strip(pen, row) {
    const { context, theme } = pen;
    const [start, step] = state.data.runs[row.run].grid;
    const floor = row.top + row.height - 2;
    context.fillStyle = row.label === null ? theme.quiet : paint(row.label, theme, 0.85);
    columns(row.strip, start, step, pen, (px, high) => {
      const tall = (high / 255) * (row.height - 4);
      context.fillRect(px, floor - tall, 1, tall);
    });
    context.fillStyle = theme.line;
    context.fillRect(pen.gutter, floor, pen.width - pen.gutter, 1);
  }

  function paint(label, theme, alpha) {
    return `hsl(${hue(label)} 62% ${theme.light === "1" ? 40 : 66}% / ${alpha})`;
  }

  function segments(pen, row) {
    const { context, theme, x } = pen;
    for (const one of row.items) {
      if (one.end < pen.from || one.start > pen.to) continue;
      const left = Math.max(pen.gutter, x(one.start));
      const wide = Math.max(2, Math.min(pen.width, x(one.end)) - left);
      const top = row.top + 3 + row.places.get(one) * BAR;
      box(pen, row, one, left, top, wide, BAR - 3);
    }
    if (!row.items.length) {
      context.fillStyle = theme.quiet;
      context.fillText("none", pen.gutter + 6, row.top + row.height / 2);
    }
  }

  function box(pen, row, one, left, top, wide, tall) {
    const { context, theme } = pen;
    context.save();
    context.beginPath();
    context.rect(left, top, wide, tall);
    context.clip();
    context.fillStyle = paint(one.label, theme, 0.24);
    context.fillRect(left, top, wide, tall);
    if (row.kind === "truth") hatch(context, left, top, wide, tall, paint(one.label, theme, 0.5));
    context.fillStyle = theme.ink;
    if (wide > 22) context.fillText(wide > 60 ? fitted(context, caption(row, one), wide - 9) : caption(row, one), left + 6, top + tall / 2 + 0.5);
    context.restore();
    const chosen = avlocPage.timeline.isSelected(row, one);
    context.strokeStyle = chosen ? theme.ink : paint(one.label, theme, 1);
    context.lineWidth = chosen ? 2.5 : 1.5;
    context.setLineDash(one.hit === false ? [4, 3] : []);
    context.strokeRect(left + 0.75, top + 0.75, Math.max(1, wide - 1.5), tall - 1.5);
    context.setLineDash([]);
    if (row.kind === "edit") {
      context.fillStyle = theme.ink;
      for (const edge of [left + 1.5, left + wide - 4.5]) context.fillRect(edge, top + 5, 3, tall - 10);
    }
  }

  function caption(row, one) {
    const mark = one.hit === undefined ? "" : one.hit ? "✓ " : "✗ ";
    if (row.kind === "edit") return `${one.touched ? "✎ " : ""}${one.label}`;
    return row.kind === "found" ? `${mark}${one.score.toFixed(2)}  ${one.label}` : one.label;
  }

  function hatch(context, left, top, wide, tall, colour) {
    context.strokeStyle = colour;
    context.lineWidth = 1;
    context.beginPath();
    for (let k = Math.floor((left - tall) / 7) * 7; k < left + wide; k += 7) {
      context.moveTo(k, top + tall);
      context.lineTo(k + tall, top);
    }
    context.stroke();
  }

  function heading({ context, theme, width }, row) {
    context.fillStyle = theme.ink;
    context.font = "600 12px system-ui, sans-serif";
    context.fillText(row.name, 2, row.top + 15);
    context.fillStyle = theme.line;
    context.fillRect(0, row.top + 23, width, 1);
    context.font = "12px system-ui, sans-serif";
  }

  function nothing({ context, theme, gutter }, row) {
    context.fillStyle = theme.quiet;
    context.fillText("none above the thresholds", gutter + 6, row.top + row.height / 2);
  }

  // The text, shortened with an ellipsis to fit.
  function fitted(context, words, room) {
    if (context.measureText(words).width <= room) return words;
    let letters = [...words];
    while (letters.length > 1 && context.measureText(`${letters.join("")}…`).width > room) letters = letters.slice(0, Math.ceil(letters.length * 0.9) - 1);
    return `${letters.join("")}…`;
  }

  return { rows, makePen, colours, fitted, BAR, TERMS };
})();

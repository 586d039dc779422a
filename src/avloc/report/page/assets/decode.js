"use strict";
// From activations to detections, as avloc.localize does it, so that a slider can move the threshold in the page.
// Strips are bytes, p = byte / 255.

avlocPage.decode = (() => {
  const { bytes } = avlocPage;

  // Strips of a video's data become arrays once.
  function unpack(data) {
    for (const run of data.runs) {
      if (run.reliability) run.reliability = bytes(run.reliability);
      for (const one of run.classes) {
        for (const key of ["fused", "audio", "visual"]) if (one[key]) one[key] = bytes(one[key]);
      }
    }
    if (data.waveform) data.waveform = bytes(data.waveform);
  }

  // Can this run's detections be made again? The events decoder and smoothed curves have no threshold to move here.
  function adjustable(run, options) {
    return Boolean(run.grid) && (options.decode || "actions") === "actions" && !(options.smooth_snippets > 1);
  }

  function asDetected(run) {
    return run.found.map(([start, end, label, score]) => ({ start, end, label, score }));
  }

  function spans(curve, threshold) {
    const found = [];
    let first = -1;
    for (let i = 0; i <= curve.length; i++) {
      const above = i < curve.length && curve[i] >= threshold;
      if (above && first < 0) first = i;
      if (!above && first >= 0) {
        found.push([first, i]);
        first = -1;
      }
    }
    return found;
  }

  // threshold = max - factor (max - min) of each kept class's curve; runs above it are detections (paper, section 4.2)
  function detect(run, options, factor, duration) {
    const [start, step, count] = run.grid;
    const shortest = Math.min(Math.ceil((options.min_snippets ?? 2) / (run.fold || 1)), count);
    const weight = options.score_weight ?? 0.7;
    const gated = options.class_gate !== "none";
    const found = [];
    for (const one of run.classes) {
      if (gated && one.score < run.gate) continue;
      let low = 255;
      let high = 0;
      for (const value of one.fused) {
        if (value < low) low = value;
        if (value > high) high = value;
      }
      for (const [first, stop] of spans(one.fused, high - factor * (high - low))) {
        if (stop - first < shortest) continue;
        let peak = 0;
        for (let i = first; i < stop; i++) peak = Math.max(peak, one.fused[i]);
        found.push({
          start: Math.max(0, start + first * step),
          end: stop === count ? duration : Math.min(duration, start + stop * step),
          label: one.name,
          score: peak / 255 + weight * one.score,
        });
      }
    }
    return found.sort((a, b) => b.score - a.score || a.start - b.start);
  }

  function overlap(a, b) {
    const shared = Math.min(a.end, b.end) - Math.max(a.start, b.start);
    return shared <= 0 ? 0 : shared / (a.end - a.start + (b.end - b.start) - shared);
  }

  // Marks each detection with `hit` (it takes a true instance at t-IoU 0.5, the strongest first) and its best t-IoU.
  function match(found, truth) {
    if (!truth) return found;
    const taken = new Set();
    for (const one of [...found].sort((a, b) => b.score - a.score)) {
      let best = 0;
      let place = -1;
      truth.forEach(([start, end, label], i) => {
        if (label !== one.label) return;
        const value = overlap(one, { start, end });
        one.overlap = Math.max(one.overlap || 0, value);
        if (!taken.has(i) && value >= 0.5 && value > best) [best, place] = [value, i];
      });
      one.hit = place >= 0;
      if (place >= 0) taken.add(place);
    }
    return found;
  }

  // Missed instances and false detections of what `match` has marked.
  function errors(found, truth) {
    return found.length + truth.length - 2 * found.filter((one) => one.hit).length;
  }

  // Means of the strips within a segment: what sound alone, picture alone and both together said.
  function modalities(run, one) {
    const shown = run.grid && run.classes.find((c) => c.name === one.label);
    if (!shown || !(shown.audio || shown.visual)) return null;
    const [start, step, count] = run.grid;
    const first = Math.max(0, Math.min(count - 1, Math.round((one.start - start) / step)));
    const stop = Math.max(first + 1, Math.min(count, Math.round((one.end - start) / step)));
    const mean = (strip) => {
      let sum = 0;
      for (let i = first; i < stop; i++) sum += strip[i];
      return sum / (stop - first) / 255;
    };
    const result = { fused: mean(shown.fused) };
    if (shown.audio) result.audio = mean(shown.audio);
    if (shown.visual) result.visual = mean(shown.visual);
    return result;
  }

  return { unpack, adjustable, asDetected, detect, match, errors, modalities };
})();

"use strict";
// A video's predictions: activations as arrays, detections, their match with the ground truth.

avlocPage.predictions = (() => {
  const { bytes } = avlocPage;

  // Decodes the base64 strings of a video's data into arrays, in place.
  function unpack(data) {
    for (const run of data.runs) {
      if (run.reliability) run.reliability = bytes(run.reliability);
      for (const one of run.classes) {
        for (const key of ["fused", "audio", "visual"]) if (one[key]) one[key] = bytes(one[key]);
      }
    }
    if (data.waveform) data.waveform = bytes(data.waveform);
  }

  function asDetected(run) {
    return run.found.map(([start, end, label, score]) => ({ start, end, label, score }));
  }

  function overlap(a, b) {
    const shared = Math.min(a.end, b.end) - Math.max(a.start, b.start);
    return shared <= 0 ? 0 : shared / (a.end - a.start + (b.end - b.start) - shared);
  }

  // Sets `hit` (matches an unmatched instance at t-IoU 0.5, by descending score) and `overlap` (best t-IoU) of each detection.
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

  // Number of missed instances and false detections, after `match`.
  function errors(found, truth) {
    return found.length + truth.length - 2 * found.filter((one) => one.hit).length;
  }

  // Mean probabilities within a segment, from audio alone, video alone and both.
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

  return { unpack, asDetected, match, errors, modalities };
})();

"use strict";
// The decoder of localize.decode=actions (paper, section 4.2), repeated here so that a slider can move its threshold.
// Loaded only for runs decoded by it. tests/test_page_browser.py compares it with avloc.localize.actions.detect.

// Detections of a run at a threshold factor. Each class whose video score reaches the gate is cut at
// max - factor (max - min) of its curve; the parts at or above the threshold, if not too short, are detections. Score: the
// part's maximum + score_weight * video score. Curves are bytes, p = byte / 255.
avlocPage.decode = (run, options, factor, duration) => {
  const [start, step, count] = run.grid;
  const shortest = Math.min(Math.ceil((options.min_snippets ?? 2) / (run.fold || 1)), count);
  const found = [];
  for (const { name, score, fused } of run.classes) {
    if (options.class_gate !== "none" && score < run.gate) continue;
    const high = Math.max(...fused);
    const threshold = high - factor * (high - Math.min(...fused));
    let first = 0;
    for (let stop = 0; stop <= count; stop++) {
      if (stop < count && fused[stop] >= threshold) continue;
      if (stop > first && stop - first >= shortest) {
        found.push({
          start: Math.max(0, start + first * step),
          end: stop === count ? duration : Math.min(duration, start + stop * step),
          label: name,
          score: Math.max(...fused.subarray(first, stop)) / 255 + (options.score_weight ?? 0.7) * score,
        });
      }
      first = stop + 1;
    }
  }
  return found.sort((a, b) => b.score - a.score || a.start - b.start);
};

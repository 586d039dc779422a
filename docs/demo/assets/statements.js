"use strict";
// What corrections state about a video: {checked, present, deleted, untouched, points}, rows [start, end, label], as in the
// file of corrections. Comparison and merging of what two windows state.

avlocPage.statements = (() => {
  const SAME_S = 1e-3;
  const exact = (seconds) => Math.round(seconds * 1000) / 1000;
  const row = ({ start, end, label }) => [exact(start), exact(end), label];
  const inOrder = (rows) => rows.sort((a, b) => a[0] - b[0] || a[1] - b[1] || (a[2] < b[2] ? -1 : a[2] > b[2] ? 1 : 0));
  const same = (a, b) => a[2] === b[2] && Math.abs(a[0] - b[0]) < SAME_S && Math.abs(a[1] - b[1]) < SAME_S;
  const overlap = (a, b) => a[2] === b[2] && a[0] < b[1] && b[0] < a[1];
  const without = (rows, others) => rows.filter((one) => !others.some((other) => same(one, other)));
  const once = (rows) => rows.filter((one, i) => !rows.slice(0, i).some((other) => same(one, other)));

  // What an edited video states. Detections of the model that are no longer among the segments are deleted.
  function of(edit) {
    const all = inOrder(once(edit.segments.map(row)));
    const open = edit.checked ? [] : edit.segments.filter((one) => !one.touched).map(row);
    return {
      checked: edit.checked,
      present: without(all, open),
      untouched: inOrder(once(open)),
      deleted: without(inOrder(once(edit.proposed.map(row))), all),
      points: edit.points,
    };
  }

  // The same as an entry of the file.
  function written(edit) {
    const { checked, present, untouched, deleted, points } = of(edit);
    const item = ([start, end, label]) => ({ label, segment: [start, end] });
    return {
      subset: edit.subset || "",
      duration: edit.duration_s,
      checked,
      annotations: inOrder([...present, ...untouched]).map((one) => (untouched.includes(one) ? { ...item(one), untouched: true } : item(one))),
      deleted: deleted.map(item),
      points: points.map(([time, label]) => ({ label, time })),
    };
  }

  // Untouched detections are no statement.
  const core = (entry) => JSON.stringify(entry ? [entry.checked, entry.present, entry.deleted] : [false, [], []]);
  const differs = (edit) => core(of(edit)) !== core(edit.base);

  function changes(base, entry, part) {
    const before = base ? base[part] : [];
    return { added: without(entry[part], before), removed: without(before, entry[part]) };
  }

  // Three-way merge. null if both touch the same detection: overlapping segments of one class, changed differently.
  function merge(base, mine, theirs) {
    const result = { checked: mine.checked === Boolean(base && base.checked) ? theirs.checked : mine.checked, points: theirs.points, untouched: [] };
    const [ours, others] = [[], []];
    for (const part of ["present", "deleted"]) {
      const [a, b] = [changes(base, mine, part), changes(base, theirs, part)];
      ours.push(...without(a.added, b.added), ...without(a.removed, b.removed));
      others.push(...without(b.added, a.added), ...without(b.removed, a.removed));
      const left = without(base ? base[part] : [], [...a.removed, ...b.removed]);
      result[part] = inOrder(once([...left, ...a.added, ...b.added]));
    }
    return ours.some((one) => others.some((other) => overlap(one, other))) ? null : result;
  }

  // All that either states to be there.
  function union(mine, theirs) {
    const present = inOrder(once([...mine.present, ...theirs.present]));
    const deleted = without(inOrder(once([...mine.deleted, ...theirs.deleted])), present);
    return { checked: mine.checked && theirs.checked, present, deleted, untouched: [], points: theirs.points };
  }

  return { of, written, differs, merge, union, overlap, without };
})();

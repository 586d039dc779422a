"use strict";
// The keyboard: every key with its meaning, for the help, the hints under the editor and the listener.

avlocPage.keys = (() => {
  const { $, element, state, list, timeline, player, edit, teach } = avlocPage;
  const ONCE = true; // a key that is held down counts once

  const KEYS = [
    ["Space", "play or pause", () => player.toggle(), ONCE],
    ["ArrowLeft", "1 second back (Shift: 0.1)", (event) => player.seek(player.time() - (event.shiftKey ? 0.1 : 1))],
    ["ArrowRight", "1 second forward (Shift: 0.1)", (event) => player.seek(player.time() + (event.shiftKey ? 0.1 : 1))],
    [",", "1 frame back", () => edit.step(-1)],
    [".", "1 frame forward", () => edit.step(1)],
    ["n", "next detection, or correction", () => (state.editing ? edit.jump(1) : player.jump(1))],
    ["p", "previous detection, or correction", () => (state.editing ? edit.jump(-1) : player.jump(-1))],
    ["Enter", "play the selection", () => player.playSelected(), ONCE],
    ["j", "next video", () => list.neighbour(1)],
    ["k", "previous video", () => list.neighbour(-1)],
    ["+", "zoom in", () => timeline.zoom(0.6)],
    ["-", "zoom out", () => timeline.zoom(1 / 0.6)],
    ["0", "show the whole video", () => timeline.show(0, state.data.duration_s)],
    ["/", "search videos", () => $("search").focus()],
    ["e", "correct the detections", () => edit.toggle(), ONCE],
    ["c", "checked: save, next video", () => teach.check(), ONCE],
    ["C", "not checked after all", () => teach.uncheck(), ONCE],
    ["?", "show this help", () => $("help").showModal(), ONCE],
  ];

  // While correcting.
  const EDITING = [
    ["i", "start at the cursor; new if there is none ([)", () => edit.toCursor("start"), ONCE],
    ["o", "end at the cursor (])", () => edit.toCursor("end"), ONCE],
    ["q", "start 1 frame earlier", () => edit.nudge("start", -1)],
    ["w", "start 1 frame later", () => edit.nudge("start", 1)],
    ["r", "end 1 frame earlier", () => edit.nudge("end", -1)],
    ["t", "end 1 frame later", () => edit.nudge("end", 1)],
    ["y", "accept, next", () => edit.accept(), ONCE],
    ["a", "add at the cursor, or the selected detection", () => edit.add(), ONCE],
    ["Delete", "delete (Backspace)", () => edit.remove(), ONCE],
    ["1-9", "set the class", (event) => edit.number(Number(event.key))],
    ["u", "undo (Ctrl+Z)", () => edit.undo()],
  ];
  const OTHERS = { "[": "i", "]": "o", Backspace: "Delete", "=": "+" };

  function setUp() {
    const lines = ([key, words]) => [element("dt", {}, element("kbd", { textContent: key })), element("dd", { textContent: words })];
    $("keys").append(...KEYS.flatMap(lines));
    $("edit-keys").append(...EDITING.flatMap(lines));
    const hints = [...EDITING, ...KEYS.filter(([key]) => ["n", ",", ".", "c", "j"].includes(key))];
    $("hints").append(...hints.map(([key, words]) => element("span", {}, element("kbd", { textContent: key }), ` ${words.split(/[;(]/)[0].trim()}`)));
    document.addEventListener("keydown", press);
  }

  function press(event) {
    const typing = event.target.closest("input:not([type=range]):not([type=checkbox]), select, textarea, dialog");
    // in the lists Enter selects and Space plays; elsewhere both press the focused button
    const inList = event.target.closest("#videos, #found-list");
    const onButton = event.target.closest("button, a, video") && (event.key === "Enter" || (event.key === " " && !inList));
    const onSlider = event.target.closest("input[type=range]") && event.key.startsWith("Arrow");
    if (typing || onButton || onSlider || !state.data || event.metaKey) return;
    if (event.ctrlKey && !event.altKey) {
      if (event.key.toLowerCase() === "z" && state.editing) edit.undo();
      return;
    }
    const altGr = event.getModifierState("AltGraph"); // types [ and ] on many keyboards
    if (event.altKey && !altGr) return;
    const found = named(event.key);
    if (!found) return;
    event.preventDefault();
    if (event.repeat && found[3]) return;
    found[2](event);
  }

  function named(pressed) {
    const key = OTHERS[pressed] || (pressed === " " ? "Space" : pressed);
    const name = /^[1-9]$/.test(key) ? "1-9" : key;
    const of = (keys) => keys.find(([one]) => one === name);
    return (state.editing && of(EDITING)) || of(KEYS);
  }

  return { setUp };
})();

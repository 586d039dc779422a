"""When chromium shows the flashes of a file: a player that checks the truth of the test patterns.

It loads the file into a `<video>`, seeks on a grid, draws each frame on a canvas and reads its brightness; then it
bisects between the last dark and the first bright time. Times are the frame's `mediaTime`: a seek may show a later
frame than the one asked for.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import TracebackType

_FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--mute-audio"]
_SUFFIXES = (".mp4", ".mov", ".webm", ".mkv", ".ogv")
_STEP_S, _RESOLUTION_S, _PATIENCE_S = 0.3, 0.005, 5
_SCRIPT = """
async ([start, end, step, resolution, patience, bright]) => {
  const within = start => Promise.race([
    new Promise(start),
    new Promise((_, fail) => setTimeout(() => fail('no answer'), 1000 * patience)),
  ]);
  const video = document.createElement('video');
  video.src = URL.createObjectURL(document.querySelector('input').files[0]);
  video.muted = true;
  await within((done, fail) => { video.onloadeddata = done; video.onerror = () => fail(video.error.message); });
  if (!video.videoWidth) return null;
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 8;
  const pen = canvas.getContext('2d', {willReadFrequently: true});
  let shown = 0;
  const isBright = async time => {
    const frame = new Promise(done => video.requestVideoFrameCallback((_, facts) => done(shown = facts.mediaTime)));
    await within(done => { video.onseeked = done; video.currentTime = time; });
    await Promise.race([frame, new Promise(done => setTimeout(done, 500))]);  // none if the frame stays the same
    pen.clearRect(0, 0, 8, 8);
    pen.drawImage(video, 0, 0, 8, 8);
    const pixels = pen.getImageData(0, 0, 8, 8).data;
    return pixels.reduce((sum, value, k) => sum + (k % 4 < 3 ? value : 0), 0) / 192 > bright;
  };
  const onsets = [];
  let before = true;
  for (let time = start; time < Math.min(video.duration, end); time += step) {
    const now = await isBright(time);
    if (now && !before) {
      let [dark, light, onset] = [time - step, time, shown];
      while (light - dark > resolution) {
        const middle = (dark + light) / 2;
        if (await isBright(middle)) [light, onset] = [middle, shown]; else dark = middle;
      }
      onsets.push(onset);
    }
    before = now;
  }
  return onsets;
}
"""


class Browser:
    """A running chromium; a context manager."""

    def __enter__(self) -> Browser:
        from playwright.sync_api import sync_playwright

        self._engine = sync_playwright().start()
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        self._chromium = self._engine.chromium.launch(executable_path=path, args=_FLAGS)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._chromium.close()
        self._engine.stop()

    def onsets(self, path: Path, start_s: float, end_s: float, bright: float) -> list[float] | None:
        """Times from `start_s` to `end_s` when the mean brightness rises above `bright`; None if it does not play."""
        from playwright.sync_api import Error

        if path.suffix not in _SUFFIXES:
            return None
        page = self._chromium.new_page()
        try:
            page.set_content("<input type=file>")
            page.set_input_files("input", path)
            return page.evaluate(_SCRIPT, [start_s, end_s, _STEP_S, _RESOLUTION_S, _PATIENCE_S, bright])
        except Error as error:
            print(f"{path.name}: chromium: {error.message.splitlines()[0]}", file=sys.stderr)
            return None
        finally:
            page.close()

"""A page on which a person drops a video and sees when things happen in it.

    pip install gradio 'avloc[all]'
    python examples/gradio_page.py out/run                 opens on http://127.0.0.1:7860

Videos are decoded on this machine, and nobody else is let in; `share=True` of gradio would change that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import avloc
from avloc.errors import AvlocError

COLUMNS = ["label", "start (s)", "end (s)", "score"]


def answer(localizer: avloc.Localizer) -> Callable[[str | None, float], tuple[object, list[list[object]]]]:
    """The function behind the page: (video file, lowest score) to (timeline, table)."""
    import gradio

    def localize(video: str | None, lowest: float) -> tuple[object, list[list[object]]]:
        if video is None:
            raise gradio.Error("Choose a video first.")
        try:
            result = localizer.localize(video)
        except AvlocError as error:  # one line that says what to do; gradio's copy of the file has a long path
            raise gradio.Error(str(error).replace(video, Path(video).name)) from error
        found = result.select(lowest)
        rows = [[d.label, round(d.start_s, 2), round(d.end_s, 2), round(d.score, 3)] for d in found]
        return result.plot(min_score=lowest), rows

    return localize


def main(run: str) -> None:
    """Load the run and serve the page."""
    import gradio

    localizer = avloc.load(run)
    inputs = [gradio.Video(label="video", sources=["upload"]), gradio.Slider(0, 1, 0.3, label="lowest score")]
    outputs = [gradio.Plot(show_label=False), gradio.Dataframe(headers=COLUMNS, label="detections")]
    classes = ", ".join(localizer.card.classes)
    text = {"title": "avloc", "description": f"Finds: {classes}"}
    page = gradio.Interface(answer(localizer), inputs, outputs, flagging_mode="never", **text)
    page.launch()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("expected a run folder: python examples/gradio_page.py RUN")
    main(sys.argv[1])

"""Make docs/demo/, a page to look at without installing anything, from a finished demo.

    avloc demo demo-out
    python docs/make_demo_page.py demo-out docs/demo           seconds; about 2 MB

All videos in it are rendered by the demo.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

from avloc.pipeline.folder import localize_all
from avloc.pipeline.localizer import load
from avloc.report.page.build import build_page
from avloc.report.sources import PageSources

VIDEOS = ("test_014", "test_016", "test_021")
"""Drumming, visible and behind a title card; hammering before a moving background; a third."""

_HIDDEN = (".avloc.lock", ".avloc.owner", ".avloc.files")


def main(demo: Path, out: Path) -> None:
    """Localize the videos with the demo's models, audio-visual and of one modality, and build the page with copies."""
    features = [demo / "features" / f"{video}.safetensors" for video in VIDEOS]
    media = {video: demo / "videos" / f"{video}.mp4" for video in VIDEOS}
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        for model in ("2-stages", "audio-only", "visual-only"):
            localize_all(load(demo / model / "run"), features, home / model, media=media)
        truth = json.loads((demo / "ground_truth.json").read_text(encoding="utf-8"))
        truth["database"] = {video: truth["database"][video] for video in VIDEOS}
        (home / "truth.json").write_text(json.dumps(truth), encoding="utf-8")
        sources = PageSources(
            home / "2-stages",
            home / "truth.json",
            compare=(home / "visual-only",),
            audio=home / "audio-only",
            visual=home / "visual-only",
            title="avloc demo: three rendered videos that the model has not seen",
        )
        build_page(sources, out, media="copy")
    for lock in _HIDDEN:
        (out / lock).unlink(missing_ok=True)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{out}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""Make the images of docs/tour.md and the timeline of README.md from a finished demo.

    avloc demo demo-out
    python docs/make_tour.py demo-out            needs chromium and the dev extra; a minute

All videos in the images are rendered by the demo.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from avloc.figures import timeline
from avloc.formats.annotations import read_annotations
from avloc.formats.results import find_results
from avloc.pipeline.folder import find_inputs, localize_all
from avloc.pipeline.localizer import load, with_options
from avloc.report.page.build import build_page
from avloc.report.plots import plot_all
from avloc.report.sources import PageSources, PlotSources

IMAGES = Path(__file__).parent / "images"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]

PICTURES = {
    "tour-page.png": "the page, light",
    "tour-threshold.png": "the threshold moved, dark",
    "tour-corrections.png": "corrections",
    "tour-phone.png": "on a phone",
    "tour-timeline.png": "a timeline for a paper",
    "tour-map.png": "mAP over t-IoU",
    "tour-attention.png": "cross-attention",
}

README = "test_014"
"""A demo video that needs audio: drumming, visible and behind a title card."""

TOUR = "test_016"
"""Another: hammering in front of a moving background."""


def main(demo: Path) -> None:
    """Build the page and the figures from a demo folder and write all images."""
    from playwright.sync_api import sync_playwright

    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as engine:
        build_page(sources(demo), Path(folder) / "page")
        build_page(by_thresholds(demo, Path(folder) / "actions"), Path(folder) / "thresholds")
        figures(demo, Path(folder) / "figures")
        hidden, heard = ("visual-only", "0-stages"), ("visual-only", "2-stages")
        write("timeline.png", compared(demo, hidden, README, Path(folder) / "readme.png"))
        write("tour-timeline.png", compared(demo, heard, TOUR, Path(folder) / "tour.png"))
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = engine.chromium.launch(executable_path=chromium, args=FLAGS)
        url = (Path(folder) / "page" / "index.html").as_uri()
        shoot(browser, url, "tour-page.png", look)
        other = (Path(folder) / "thresholds" / "index.html").as_uri()
        shoot(browser, other, "tour-threshold.png", threshold, scheme="dark")
        shoot(browser, url, "tour-corrections.png", correct)
        shoot(browser, url, "tour-phone.png", phone, width=390, height=844)
        browser.close()


def sources(demo: Path) -> PageSources:
    """The demo's best model, compared with its visual-only model; both unimodal models for the modality rows."""
    return PageSources(
        demo / "2-stages" / "detections",
        demo / "ground_truth.json",
        compare=(demo / "visual-only" / "detections",),
        audio=demo / "audio-only" / "detections",
        visual=demo / "visual-only" / "detections",
        title="avloc demo",
    )


def by_thresholds(demo: Path, out: Path) -> PageSources:
    """The same run with the paper's decoder, whose threshold can be changed in the page."""
    localizer = with_options(load(demo / "2-stages" / "run"), {"localize.decode": "actions"})
    localize_all(localizer, find_inputs(sorted((demo / "features").glob("test_*.safetensors"))), out)
    return PageSources(
        out, demo / "ground_truth.json", videos=demo / "videos", title="avloc demo, localize.decode=actions"
    )


def compared(demo: Path, names: tuple[str, ...], video: str, out: Path) -> bytes:
    """A timeline of one video for several of the demo's models, from the same minimum score."""
    runs = [find_results(demo / name / "detections").read() for name in names]
    truth = {a.video_id: a.instances for a in read_annotations(demo / "ground_truth.json")[0]}
    activations = {run.name: a for run in runs if (a := run.activations(video)) is not None}
    found = {run.name: run.detections.get(video, ()) for run in runs}
    timeline(activations, found, truth[video], out, lowest=runs[0].likely_from)
    return out.read_bytes()


def figures(demo: Path, out: Path) -> None:
    """The figures of the tour."""
    runs = [demo / name / "detections" for name in ("2-stages", "visual-only", "audio-only", "0-stages")]
    plot = PlotSources(runs[0], demo / "ground_truth.json", compare=tuple(runs[1:]))
    plot_all(plot, out, ("png",), limit=1)
    chosen = {
        "tour-map.png": out / "map.png",
        "tour-attention.png": next((out / "attention").glob("*_stage1.png")),
    }
    for name, path in chosen.items():
        write(name, path.read_bytes())


def shoot(
    browser: Any, url: str, name: str, act: Any, width: int = 1280, height: int = 860, scheme: str = "light"
) -> None:
    """Open the page at the best video with more than one detection, act, and take a screenshot."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("#stage:not([hidden])")
    best = """() => {
      const all = avlocPage.state.index.videos.filter(v => v.mean_t_iou !== null && v.count > 1);
      all.sort((a, b) => b.mean_t_iou - a.mean_t_iou);
      avlocPage.emit("choose", (all[0] || avlocPage.state.index.videos[0]).file);
    }"""
    page.evaluate(best)
    page.wait_for_timeout(1200)
    act(page)
    page.wait_for_timeout(800)
    write(name, page.screenshot())
    context.close()


def look(page: Any) -> None:
    page.keyboard.press("n")


def threshold(page: Any) -> None:
    page.keyboard.press("n")
    page.evaluate(
        "() => { const s = document.querySelector('#factor'); s.value = 0.75; s.dispatchEvent(new Event('input')); }"
    )


def correct(page: Any) -> None:
    page.keyboard.press("e")
    page.evaluate(
        "() => { const one = avlocPage.edit.segments()[0];"
        " if (one) avlocPage.timeline.select({kind: 'edit', run: 0, one, label: one.label}); }"
    )
    page.locator("#timeline").scroll_into_view_if_needed()
    page.evaluate("() => document.querySelector('#editor').scrollIntoView()")


def phone(page: Any) -> None:
    page.keyboard.press("n")
    page.evaluate("() => document.querySelector('#timeline').scrollIntoView()")


def write(name: str, png: bytes) -> None:
    """Write as a palette image: a third of the size, no visible difference."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    if picture.width > 1400:
        picture = picture.resize((1400, round(picture.height * 1400 / picture.width)), Image.Resampling.LANCZOS)
    picture.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(IMAGES / name, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/make_tour.py DEMO_FOLDER   (made by: avloc demo DEMO_FOLDER)")
    main(Path(sys.argv[1]))

"""Make the images of docs/teach.md from a finished demo.

    avloc demo demo-out
    python docs/make_teach.py demo-out           needs chromium and the dev extra; three minutes on 2 CPU cores

Training videos of the demo are localized, the suggested ones corrected by keys after the ground truth, and the model
is retrained from the page. The demo folder is left as it is.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from make_tour import FLAGS, write

from avloc.formats.annotations import read_annotations
from avloc.pipeline.folder import localize_folder
from avloc.report.page.build import build_page
from avloc.report.retraining import to_teach
from avloc.report.serve import PageServer, Retrainer
from avloc.report.sources import PageSources
from avloc.types import VideoAnnotation

SUGGESTED = 5

PICTURES = {
    "teach-check.png": "a suggested video, corrected by keys",
    "teach-retrain.png": "the retraining as a job, dark",
    "teach-changes.png": "what changed",
    "teach-new.png": "the new result beside the old",
    "teach-conflict.png": "two windows that correct one detection",
}


def main(demo: Path) -> None:
    """Serve the page of the training videos, correct, retrain, and write all images."""
    from playwright.sync_api import sync_playwright

    truth = {a.video_id: a for a in read_annotations(demo / "ground_truth.json")[0]}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as engine:
        server = serve(demo.resolve(), Path(folder))
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = engine.chromium.launch(executable_path=chromium, args=FLAGS)
        page = opened(browser, server.url)
        check(page, truth)
        conflict(browser, server.url)
        retrain(browser, page, server.url)
        browser.close()
        server.close()


def serve(demo: Path, folder: Path) -> PageServer:
    """As `avloc view`: the training videos, localized by the demo's best model."""
    os.chdir(folder)  # the page tells where it saves
    run, detections, page = demo / "2-stages" / "run", Path("demo", "detections"), folder / "page"
    localize_folder(run, [demo / "features"], detections, subset="train", labels=demo / "labels.csv")
    sources = PageSources(
        detections, run=run, features=demo / "features", labels=demo / "labels.csv", title="avloc demo"
    )
    sources, served, saved = to_teach(sources, SUGGESTED), dict[str, Path](), detections / "corrections.json"
    jobs = Retrainer(sources, saved, page, served)
    server = PageServer(page, served, saved, 0, jobs)
    served.update(build_page(sources, page, media="serve").served)
    threading.Thread(target=server.run, daemon=True).start()
    return server


def opened(browser: Any, url: str, scheme: str = "light") -> Any:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("#stage:not([hidden])")
    page.wait_for_timeout(800)
    return page


def check(page: Any, truth: Mapping[str, VideoAnnotation]) -> None:
    """Correct the suggested videos after the ground truth, as a person would by ear and eye."""
    page.keyboard.press("e")
    names = page.evaluate("avlocPage.state.index.suggested")
    classes = page.evaluate("avlocPage.state.index.classes")
    for place, name in enumerate(names):
        page.wait_for_function("name => document.querySelector('#name').textContent === name", arg=name)
        page.wait_for_timeout(500)
        page.locator("#origin").select_option("none")
        page.locator("#timeline").focus()
        for instance in truth[name].instances:
            page.evaluate("t => { avlocPage.timeline.select(null); avlocPage.player.seek(t); }", instance.start_s)
            page.keyboard.press("i")
            page.keyboard.press(str(classes.index(instance.label) + 1))
            page.evaluate("t => avlocPage.player.seek(t)", instance.end_s)
            page.keyboard.press("o")
        if place == len(names) - 1 or (place and truth[name].instances and len(truth[name].instances) > 1):
            shoot(page, "teach-check.png")
        page.keyboard.press("c")
        page.evaluate("avlocPage.saving.pending()")


def conflict(browser: Any, url: str) -> None:
    """Two windows move the end of one detection, in a video that is not suggested."""
    windows = [opened(browser, url) for _ in range(2)]
    for window, key in zip(windows, "tr", strict=True):
        window.evaluate(
            "() => avlocPage.emit('choose', avlocPage.state.index.videos.find("
            "v => v.count && !avlocPage.state.index.suggested.includes(v.video_id)).file)"
        )
        window.wait_for_timeout(800)
        for pressed in ("e", *(key * 8)):
            window.keyboard.press(pressed)
    for window in windows:
        window.locator("#save").click()
        window.evaluate("avlocPage.saving.pending()")
    windows[1].wait_for_selector("#conflict:not([hidden])")
    shoot(windows[1], "teach-conflict.png")
    windows[1].locator("#take-theirs").click()
    for window in windows:
        window.context.close()


def retrain(browser: Any, page: Any, url: str) -> None:
    """Retrain, and look at what changed and at the new result."""
    page.locator("#retrain").click()
    begun = "() => document.querySelector('#job-bar').value > 0.2 * document.querySelector('#job-bar').max"
    page.wait_for_function(begun, timeout=600_000)
    dark = opened(browser, url, "dark")
    dark.keyboard.press("e")
    shoot(dark, "teach-retrain.png")
    dark.context.close()
    page.wait_for_selector("#changes[open]", timeout=600_000)
    shoot(page, "teach-changes.png")
    page.keyboard.press("Escape")
    page.locator("#continue").click()
    page.wait_for_url("**/retrained-1/index.html*", timeout=600_000)
    page.wait_for_selector("#stage:not([hidden])")
    page.evaluate(
        "() => avlocPage.emit('choose', avlocPage.state.index.videos.find("
        "v => v.count > 1 && !avlocPage.saving.isChecked(v)).file)"
    )
    shoot(page, "teach-new.png")


def shoot(page: Any, name: str) -> None:
    page.wait_for_timeout(1000)
    write(name, page.screenshot())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/make_teach.py DEMO_FOLDER   (made by: avloc demo DEMO_FOLDER)")
    main(Path(sys.argv[1]))

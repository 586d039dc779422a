"""The page in chromium, driven by playwright, from file:// and from `avloc view`.

Skipped if chromium or playwright is not installed (`apt-get install chromium`). AVLOC_SCREENSHOTS=FOLDER saves
screenshots.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from avloc.config import LocalizeConfig
from avloc.formats.annotations import read_annotations
from avloc.formats.detections import read_detections, write_segments_json
from avloc.localize import localize
from avloc.report.page.build import build_page
from avloc.report.serve import PageServer
from avloc.report.sources import PageSources
from avloc.types import Detection
from page_data import CLASSES, DURATION_S, NASTY_LABEL, NASTY_NAME, activations, make_world, write_run

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required", "--mute-audio"),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("browser")
    make_world(home)
    sources = PageSources(
        home / "ours",
        home / "truth.json",
        compare=(home / "other",),
        audio=home / "sound",
        visual=home / "sight",
    )
    build_page(sources, home / "page")
    return home


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as engine:
        chromium = engine.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


class Visit:
    """An open page, with its console errors and warnings and its requests."""

    def __init__(
        self, browser, url: str, width: int = 1280, height: int = 800, scheme: str = "light", **options
    ) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True, **options
        )
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)
        self.page.wait_for_selector("#stage:not([hidden])")
        self.page.wait_for_function("() => document.querySelector('#rows').height > 50")

    def open(self, name: str) -> None:
        self.page.locator("#videos button", has_text=name).first.click()
        self.page.wait_for_function("name => document.querySelector('#name').textContent === name", arg=name)

    def state(self, expression: str):
        return self.page.evaluate(f"(() => {{ const s = avlocPage.state; return {expression}; }})()")

    def time(self) -> float:
        return self.page.evaluate("avlocPage.player.time()")

    def slide(self, which: str, value: float) -> None:
        script = (
            "([id, v]) => { const i = document.getElementById(id); i.value = v; i.dispatchEvent(new Event('input')); }"
        )
        self.page.evaluate(script, [which, str(value)])

    def click_row(self, kind: str, time_s: float, lane: int = 0, run: int | None = None) -> None:
        x, y = self.place(kind, time_s, lane, run)
        self.page.mouse.click(x, y)

    def place(self, kind: str, time_s: float, lane: int = 0, run: int | None = None) -> tuple[float, float]:
        self.page.locator("#timeline").scroll_into_view_if_needed()
        rows = self.page.evaluate("avlocPage.timeline.layout()")
        row = next(r for r in rows if r["kind"] == kind and (run is None or r["run"] == run))
        self.page.evaluate(
            "y => document.querySelector('main').scrollBy(0, document.querySelector('#rows')"
            ".getBoundingClientRect().top + y - 400)",
            row["top"],
        )
        box = self.page.locator("#rows").bounding_box()
        left = self.page.evaluate("t => avlocPage.timeline.x(t)", time_s)
        return box["x"] + left, box["y"] + row["top"] + 3 + 22 * lane + 9

    def shoot(self, name: str) -> None:
        folder = os.environ.get("AVLOC_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.wait_for_timeout(300)
            self.page.screenshot(path=str(Path(folder) / f"{name}.png"))

    def close(self) -> None:
        self.context.close()
        assert self.complaints == []


@pytest.fixture
def visit(browser, world):
    seen = Visit(browser, (world / "page" / "index.html").as_uri())
    yield seen
    seen.close()


def test_it_opens_from_disk_without_network(visit, world):
    assert visit.page.title() == "avloc: ours"
    assert visit.page.locator("#videos li").count() == 3
    visit.open("dog")
    assert all(url.startswith(("file://", "data:", "blob:")) for url in visit.requests)
    kinds = [row["kind"] for row in visit.page.evaluate("avlocPage.timeline.layout()")]
    assert {"ruler", "thumbs", "waveform", "truth", "heading", "found", "strip"} <= set(kinds)
    names = [row["name"] for row in visit.page.evaluate("avlocPage.timeline.layout()")]
    assert {"reliability μ", "audio only", "video only", "both", "ours", "other"} <= set(names)
    visit.shoot("page")


def test_it_plays_and_the_cursor_follows(visit):
    visit.open("dog")
    visit.page.wait_for_function("() => document.querySelector('#video').readyState >= 2")
    assert visit.page.evaluate("document.querySelector('#video').videoWidth") == 64
    visit.page.keyboard.press("Space")
    visit.page.wait_for_function("() => avlocPage.player.time() > 0.4")
    visit.page.keyboard.press("Space")
    visit.page.wait_for_function("() => document.querySelector('#video').paused")
    shown = float(visit.page.locator("#timeline").get_attribute("aria-valuenow"))
    assert shown == pytest.approx(visit.time(), abs=0.1)
    box = visit.page.locator("#cursor").bounding_box()
    rows = visit.page.locator("#rows").bounding_box()
    left = visit.page.evaluate("avlocPage.timeline.x(avlocPage.player.time())")
    assert box["x"] - rows["x"] == pytest.approx(left - 1, abs=3)


def test_a_click_on_a_row_seeks(visit):
    visit.open("dog")
    visit.click_row("waveform", 9.0)
    assert visit.time() == pytest.approx(9.0, abs=0.05)
    visit.click_row("found", 7.0)
    assert visit.time() == pytest.approx(7.0, abs=0.05)
    assert visit.state("s.selected.kind") == "found"


def test_keys(visit):
    visit.open("dog")
    starts = sorted(visit.state("s.found[0].map(d => d.start)"))
    visit.page.keyboard.press("n")
    assert visit.time() == pytest.approx(starts[0], abs=0.02)
    visit.page.keyboard.press("n")
    assert visit.time() == pytest.approx(starts[1], abs=0.02)
    visit.page.keyboard.press("p")
    assert visit.time() == pytest.approx(starts[0], abs=0.02)
    before = visit.time()
    visit.page.keyboard.press("ArrowRight")
    assert visit.time() == pytest.approx(before + 1, abs=0.02)
    visit.page.keyboard.press("Shift+ArrowLeft")
    assert visit.time() == pytest.approx(before + 0.9, abs=0.02)
    visit.page.keyboard.press("+")
    assert visit.state("s.view[1] - s.view[0]") == pytest.approx(0.6 * DURATION_S, abs=0.01)
    visit.page.keyboard.press("0")
    assert visit.state("s.view") == [0, DURATION_S]
    first = visit.page.locator("#name").inner_text()
    visit.page.keyboard.press("j")
    visit.page.wait_for_function("first => document.querySelector('#name').textContent !== first", arg=first)
    visit.page.keyboard.press("k")
    visit.page.wait_for_function("first => document.querySelector('#name').textContent === first", arg=first)
    assert visit.page.locator("#name").inner_text() == first
    visit.page.keyboard.press("?")
    assert visit.page.locator("#help").is_visible()
    visit.page.keyboard.press("Escape")
    visit.page.locator("#search").fill("")
    visit.page.locator("#search").press("n")  # typing triggers no shortcut
    assert visit.page.locator("#search").input_value() == "n"


def test_search_filter_and_sort(visit):
    visit.page.locator("#search").fill("DOG")
    assert visit.page.locator("#videos li").count() == 1
    assert visit.page.locator("#count").inner_text() == "1 of 3 videos"
    visit.page.locator("#search").fill("")
    whistle = sorted(CLASSES).index("whistle")
    visit.page.locator("#filter").select_option(str(whistle))
    assert visit.page.locator("#videos li").count() == visit.state(
        "s.index.videos.filter(v => v.labels.includes('whistle')).length"
    )
    visit.page.locator("#filter").select_option("")
    for order in ("score", "errors", "t_iou", "duration", "name"):
        visit.page.locator("#sort").select_option(order)
        assert visit.page.locator("#videos li").count() == 3


@pytest.fixture(scope="module")
def noisy(browser, tmp_path_factory):
    """A page of random activations exactly representable as bytes, and these activations."""
    home = tmp_path_factory.mktemp("noisy")
    a = activations("v", count=60)
    probs = np.random.default_rng(0).integers(0, 256, a.probs.shape) / 255
    a = replace(a, probs=probs, video_scores=np.sort(probs[:, 1:], axis=0)[-7:].mean(axis=0))
    write_run(home / "det", {"v": a}, {})
    build_page(PageSources(home / "det"), home / "page")
    seen = Visit(browser, (home / "page" / "index.html").as_uri())
    yield seen, a
    seen.close()


@pytest.mark.parametrize("factor", [0.0, 0.1937, 0.5317, 0.9173])
@pytest.mark.parametrize("options", [{}, {"min_snippets": 4}, {"score_weight": 0.25}, {"class_gate": "none"}], ids=str)
def test_the_page_decodes_as_python_does(noisy, factor, options):
    seen, a = noisy
    expected = localize(a, LocalizeConfig(decode="actions", threshold_factor=factor, **options))
    call = f"avlocPage.decode(s.data.runs[0], {{...s.index.options[0], ...{json.dumps(options)}}}, {factor}, 12)"
    found = seen.state(f"{call}.map(d => [d.label, d.start, d.end, d.score])")
    assert len(found) == len(expected)
    assert expected or factor < 0.5
    for (label, *numbers), d in zip(found, expected, strict=True):
        assert label == d.label
        assert numbers == pytest.approx([d.start_s, d.end_s, d.score], abs=1e-6)


def test_the_slider_detects_again(visit):
    visit.open("dog")
    assert any("decode.js" in url for url in visit.requests)
    before = visit.state("s.found[0].filter(d => d.label === 'bark').map(d => d.end - d.start)")
    visit.slide("factor", 0.9)
    after = visit.state("s.found[0].filter(d => d.label === 'bark').map(d => d.end - d.start)")
    assert sum(after) < sum(before)
    visit.slide("lowest", 99)
    assert visit.page.locator("#found-list li").count() == visit.state("s.found[0].length")
    visit.page.locator("#reset").click()
    assert visit.state("s.found[0].filter(d => d.label === 'bark').map(d => d.end - d.start)") == before


@pytest.fixture(scope="module")
def guesses(tmp_path_factory) -> Path:
    """A page of the default decoder, which also reports low scores: bark 0.9 correct, 0.4 and 0.05 false."""
    home = tmp_path_factory.mktemp("guesses")
    write_run(home / "det", {"v": activations("v")}, {}, LocalizeConfig())
    found = [Detection(6, 9, "bark", 0.9), Detection(0, 2, "bark", 0.4), Detection(1, 3, "whistle", 0.05)]
    write_segments_json(home / "det" / "segments.json", {"v": found})
    rows = [{"label": "bark", "segment": [6.2, 9.1]}, {"label": "bark", "segment": [10, 12]}]
    database = {"v": {"duration": 12.0, "annotations": rows}}
    (home / "truth.json").write_text(json.dumps({"database": database}), encoding="utf-8")
    build_page(PageSources(home / "det", home / "truth.json"), home / "page")
    return home / "page" / "index.html"


def test_it_opens_at_the_score_that_counts_as_found(browser, guesses):
    seen = Visit(browser, guesses.as_uri())
    assert seen.page.locator("#factor-box").is_hidden()  # only decode=actions has this threshold
    assert not any("decode.js" in url for url in seen.requests)
    assert seen.page.locator("#lowest-value").inner_text() == "0.30"
    assert seen.page.locator("#reset").is_disabled()
    assert seen.page.locator("#found-title").inner_text() == "2 detections, 1 hidden"
    assert seen.page.locator("#errors").inner_text().startswith("2 errors at t-IoU 0.5")
    assert "detections with score ≥ 0.3" in seen.page.locator("#count").inner_text()
    assert "2 detections" in seen.page.locator("#videos").inner_text()
    assert "2 errors" in seen.page.locator("#videos").inner_text()
    assert "whistle" not in seen.page.locator("#videos").inner_text()
    seen.slide("lowest", 0)
    assert seen.page.locator("#found-title").inner_text() == "3 detections"
    assert seen.page.locator("#errors").inner_text().startswith("3 errors")
    seen.slide("lowest", 0.5)
    assert seen.page.locator("#errors").inner_text().startswith("1 error at")
    seen.page.locator("#reset").click()
    assert seen.page.locator("#lowest-value").inner_text() == "0.30"
    assert seen.page.locator("#lowest").input_value() == "0.3"
    seen.close()


def test_detections_are_listed_by_score_or_by_time(browser, guesses):
    seen = Visit(browser, guesses.as_uri())
    assert seen.page.locator("#found-list .score").all_inner_texts() == ["0.90", "0.40"]
    seen.page.locator("#order").select_option("time")
    assert seen.page.locator("#found-list .score").all_inner_texts() == ["0.40", "0.90"]
    seen.close()


def test_given_labels_weaker_detections_and_moved_videos(browser, tmp_path):
    make_world(tmp_path)
    gone = tmp_path / "away" / "gone.mp4"
    paths = {"dog": tmp_path / "videos" / "dog.mp4", "gone": gone, "later": tmp_path / "videos" / "extra 0.mp4"}
    write_run(tmp_path / "det", {name: activations(name) for name in paths}, paths, LocalizeConfig())
    (tmp_path / "det" / "labels.csv").write_text("video,labels\ndog.mp4,bark;whistle\ngone,\n", encoding="utf-8")
    built = build_page(PageSources(tmp_path / "det", audio=tmp_path / "sound"), tmp_path / "page")
    assert built.notes() == [
        f"gone: video not found: {gone.parent}; if it has moved, make the page again with --videos FOLDER"
    ]
    (tmp_path / "videos" / "extra 0.mp4").rename(tmp_path / "elsewhere.mp4")
    seen = Visit(browser, (tmp_path / "page" / "index.html").as_uri())
    seen.open("dog")
    given = seen.page.locator("#given").inner_text()
    assert given.startswith("Labels given: bark (found), whistle (not found); found, but not given: <img")
    assert "given: bark, whistle" in seen.page.locator("#videos li").first.inner_text()
    hidden = seen.state("s.weaker")
    assert hidden > 0
    assert seen.page.locator("#weaker").inner_text() == f"Show {hidden} weaker"
    seen.page.locator("#weaker").click()
    assert (seen.state("s.weaker"), seen.page.locator("#weaker").inner_text()) == (0, "Hide weaker")
    seen.page.locator("#weaker").click()
    assert seen.state("s.weaker") == hidden
    terms = seen.page.locator("#terms dt").all_inner_texts()
    assert {"activation", "reliability μ", "audio only", "both", "score"} <= set(terms)
    seen.shoot("given")
    seen.open("gone")
    assert "video not found" in seen.page.locator("#no-video").inner_text()
    seen.open("later")
    assert seen.page.locator("#given").is_hidden()
    seen.page.wait_for_function("() => document.querySelector('#no-video').textContent.startsWith('Video not found')")
    seen.complaints.clear()  # the browser's own, of the missing file
    seen.close()


def test_agreement_is_said_in_words(visit):
    visit.open("dog")
    marks = visit.page.locator("#found-list .title").all_inner_texts()
    assert any(text.startswith("✓") for text in marks)
    assert "mainly audio" in visit.page.locator("#found-list").inner_text()


def test_two_runs_on_one_axis(visit):
    visit.open("dog")
    both = visit.page.evaluate("avlocPage.timeline.layout().filter(r => r.kind === 'found').map(r => r.run)")
    assert set(both) == {0, 1}
    visit.page.locator("#compare").uncheck()
    visit.page.wait_for_timeout(100)
    one = visit.page.evaluate("avlocPage.timeline.layout().filter(r => r.kind === 'found').map(r => r.run)")
    assert set(one) == {0}


def test_hostile_names_are_text(visit):
    visit.open(NASTY_NAME)
    assert visit.page.locator("#name").inner_text() == NASTY_NAME
    assert visit.page.locator("#name").evaluate("e => e.children.length") == 0
    shown = visit.page.locator("#found-list").inner_text()
    assert "<img src=x onerror=" in shown
    assert visit.page.locator("#found-list img, #videos img, #filter img, script:not([src])").count() == 0
    assert visit.page.evaluate("window.hacked") is None
    visit.page.wait_for_function("() => document.querySelector('#video').readyState >= 1")
    visit.shoot("hostile")


def test_detections_are_downloaded_as_they_are_shown(visit, tmp_path):
    visit.open("dog")
    visit.slide("lowest", 1.0)
    count = visit.state("s.found[0].length")
    with visit.page.expect_download() as waiting:
        visit.page.locator("#save-found").click()
    waiting.value.save_as(tmp_path / "d.json")
    assert len(read_detections(tmp_path / "d.json")["dog"]) == count


def edited(visit):
    return visit.page.evaluate("avlocPage.edit.segments().map(d => [d.start, d.end, d.label])")


def test_corrections(visit, tmp_path):
    visit.open("dog")
    visit.page.locator("#edit").click()
    visit.page.wait_for_timeout(100)
    before = edited(visit)
    start, end, label = next(row for row in before if row[2] == "bark")
    x, y = visit.place("edit", end - 0.02)
    visit.page.mouse.move(x, y)
    visit.page.mouse.down()
    target, _ = visit.place("edit", end + 1.0)
    visit.page.mouse.move(target, y, steps=4)
    visit.page.mouse.up()
    moved = next(row for row in edited(visit) if row[2] == "bark")
    assert moved[1] == pytest.approx(end + 1.0, abs=0.1)
    assert moved[0] == start
    visit.page.keyboard.press("Control+z")
    assert edited(visit) == before
    visit.page.evaluate("avlocPage.player.seek(10.5)")
    visit.page.locator("#label").fill("whistle")
    visit.page.locator("#add").click()
    assert edited(visit)[-1][0] == pytest.approx(10.5, abs=0.02)
    visit.page.locator("#label").fill(NASTY_LABEL)
    visit.page.locator("#relabel").click()
    assert edited(visit)[-1][2] == NASTY_LABEL
    visit.shoot("corrections")
    visit.page.evaluate("avlocPage.timeline.select({kind: 'edit', one: avlocPage.edit.segments()[0], label: 'x'})")
    visit.page.keyboard.press("Delete")
    assert len(edited(visit)) == len(before)
    with visit.page.expect_download() as waiting:
        visit.page.locator("#download").click()
    waiting.value.save_as(tmp_path / "c.json")
    (annotation,), report = read_annotations(tmp_path / "c.json")
    assert (annotation.video_id, annotation.subset, annotation.duration_s) == ("dog", "validation", 12.0)
    saved = sorted((round(i.start_s, 3), round(i.end_s, 3), i.label) for i in annotation.instances)
    assert saved == sorted((round(a, 3), round(b, 3), c) for a, b, c in edited(visit))
    assert report.issues == ()
    assert label == "bark"


def test_view_streams_and_saves(browser, world, tmp_path):
    built = build_page(PageSources(world / "ours", world / "truth.json"), tmp_path / "page", media="serve")
    server = PageServer(tmp_path / "page", built.served, tmp_path / "corrections.json")
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        seen = Visit(browser, server.url)
        seen.open("dog")
        seen.page.wait_for_function("() => document.querySelector('#video').readyState >= 2")
        seen.page.evaluate("avlocPage.player.seek(9)")
        seen.page.wait_for_function("() => document.querySelector('#video').readyState >= 2")
        assert seen.time() == pytest.approx(9, abs=0.05)
        seen.page.locator("#edit").click()
        seen.page.locator("#save").click()
        seen.page.wait_for_function("() => document.querySelector('#edit-status').textContent.includes('saved in')")
        seen.close()
    finally:
        server.close()
    content = json.loads((tmp_path / "corrections.json").read_text(encoding="utf-8"))
    assert set(content["database"]) == {"dog"}


def test_corrections_go_on_from_what_was_saved(browser, world, tmp_path):
    saved = tmp_path / "corrections.json"
    rows = [{"label": "howl", "segment": [1.0, 2.0]}]
    saved.write_text(json.dumps({"database": {"dog": {"duration": 12.0, "annotations": rows}}}), encoding="utf-8")
    build_page(PageSources(world / "ours", corrections=saved), tmp_path / "page")
    seen = Visit(browser, (tmp_path / "page" / "index.html").as_uri())
    seen.open("dog")
    seen.page.locator("#edit").click()
    assert edited(seen) == [[1, 2, "howl"]]
    seen.page.locator("#origin").select_option("none")
    assert edited(seen) == []
    seen.close()


def test_what_browsers_do_not_play_gets_a_proxy_that_they_do(browser, tmp_path):
    """HEVC: chromium would show black frames of width 0 and report no error."""
    (tmp_path / "videos").mkdir()
    with av.open(str(tmp_path / "videos" / "phone.mp4"), "w") as container:
        stream = container.add_stream("libx265", rate=10)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.codec_context.options = {"x265-params": "log-level=none"}
        for k in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((96, 128, 3), 8 * k, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    write_run(tmp_path / "det", {"phone": activations("phone", count=6, duration_s=3.0)}, {})
    built = build_page(PageSources(tmp_path / "det", videos=tmp_path / "videos"), tmp_path / "page")
    assert built.proxies == 1
    seen = Visit(browser, (tmp_path / "page" / "index.html").as_uri())
    seen.page.wait_for_function("() => document.querySelector('#video').readyState >= 2")
    assert seen.page.evaluate("document.querySelector('#video').videoWidth") == 128
    assert "proxy of phone.mp4" in seen.page.locator("#facts").inner_text()
    seen.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone(browser, world, scheme):
    seen = Visit(browser, (world / "page" / "index.html").as_uri(), 390, 844, scheme, has_touch=True)
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert seen.page.locator("#side").is_hidden()
    seen.page.locator("#drawer").click()
    assert seen.page.locator("#side").is_visible()
    seen.page.locator("#videos button").first.click()
    assert seen.page.locator("#side").is_hidden()
    assert seen.page.evaluate("document.documentElement.dataset.theme") == scheme
    seen.shoot(f"phone-{scheme}")
    seen.close()


def test_dark_on_demand_and_contrast(visit):
    script = """() => {
      const css = getComputedStyle(document.documentElement);
      const light = (name) => {
        const hex = css.getPropertyValue(name).trim().slice(1);
        const [r, g, b] = [0, 2, 4].map(i => parseInt(hex.slice(i, i + 2), 16) / 255)
          .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort().reverse(); return (x + 0.05) / (y + 0.05); };
      return ["--ink", "--quiet"].flatMap(a => ["--paper", "--raised", "--row", "--chosen"].map(b => ratio(a, b)));
    }"""
    for _ in range(2):
        assert min(visit.page.evaluate(script)) >= 4.5
        visit.page.locator("#theme").click()


def test_everything_has_a_name_for_screen_readers(visit):
    visit.page.locator("#edit").click()
    nameless = visit.page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, video, [role=slider]')]
        .filter(e => e.offsetParent && !(e.textContent.trim() || e.getAttribute('aria-label') || e.title
                 || (e.labels && e.labels.length))).map(e => e.outerHTML)"""
    )
    assert nameless == []
    assert visit.page.locator("#timeline").get_attribute("role") == "slider"
    visit.page.locator("#timeline").focus()
    visit.page.keyboard.press("n")
    assert "score" in visit.page.locator("#timeline").get_attribute("aria-valuetext")


def test_two_hours_and_five_hundred_videos(browser, tmp_path):
    videos = {f"v {k:03d}": activations(f"v {k:03d}") for k in range(499)}
    videos["a long one"] = activations("a long one", count=14_400, duration_s=7200.0)
    write_run(tmp_path / "det", videos, {})
    build_page(PageSources(tmp_path / "det"), tmp_path / "page")
    seen = Visit(browser, (tmp_path / "page" / "index.html").as_uri())
    assert seen.page.locator("#videos li").count() == 500
    assert sum("data/v" in url for url in seen.requests) == 1  # only the video shown
    seen.open("a long one")
    took_ms = seen.page.evaluate(
        "() => new Promise(done => { const t = performance.now(); avlocPage.emit('redraw');"
        " requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - t))); })"
    )
    assert took_ms < 500
    seen.click_row("strip", 3600.0)
    assert seen.time() == pytest.approx(3600, abs=8)
    assert "no video file" in seen.page.locator("#no-video").inner_text()
    seen.close()

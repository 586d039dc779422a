"""Checking and retraining in chromium, under `avloc view`: keys, saving from two windows, the job."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from avloc.formats.corrections import VideoCorrections, read_corrections, write_corrections
from avloc.formats.results import find_results
from avloc.report.page.build import build_page
from avloc.report.sources import PageSources
from avloc.types import Instance
from page_data import activations, make_world, write_run
from teach_site import VIDEOS, make_result, served
from test_page_browser import CHROMIUM, Visit, browser, edited  # noqa: F401

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")

TRUTH = {truth.video_id: truth.instances[0] for _, truth in VIDEOS}
CLASS_KEYS = {"bark": "1", "drum": "2", "saw": "3"}
REFUSED = "Failed to load resource: the server responded with a status of 409 (Conflict)"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("trained")
    make_result(home)
    return home


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "set")
    return tmp_path / "set"


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Detections in clips of 12 s at 10 fps: a first, b with two classes."""
    home = tmp_path_factory.mktemp("clips")
    make_world(home)
    return home


@pytest.fixture(scope="module")
def page(clips: Path) -> dict[str, Path]:
    """The page of these clips in the folder `page`, without suggestions; {URL path: video}."""
    return dict(build_page(PageSources(clips / "ours"), clips / "page", media="serve").served)


@pytest.fixture
def site(clips: Path, page: dict[str, Path], tmp_path: Path) -> Iterator[str]:
    with served(clips / "ours", clips / "page", page, corrections=tmp_path / "c.json") as server:
        yield server.url


def said(seen: Visit, words: str) -> None:
    seen.page.wait_for_function("w => document.querySelector('#edit-status').textContent.includes(w)", arg=words)


def file_of(tmp_path: Path) -> dict[str, VideoCorrections]:
    return {video.video_id: video for video in read_corrections(tmp_path / "c.json")[0]}


def press(seen: Visit, *keys: str) -> int:
    """Press keys; returns their number."""
    for key in keys:
        seen.page.keyboard.press(key)
    return len(keys)


def spans(seen: Visit) -> list[tuple[float, float, str]]:
    """The corrections shown, in order of time."""
    return sorted((round(a, 3), round(b, 3), c) for a, b, c in edited(seen))


def test_a_clip_is_corrected_by_keys(browser, site, tmp_path):  # noqa: F811
    """A detection too many, a wrong end, a start off by a frame, a wrong class."""
    seen = Visit(browser, site)
    seen.open("dog")
    presses = press(seen, "e", "Delete")  # the first is selected, then the second
    (start, _, label), *_ = before = spans(seen)
    assert (len(before), label) == (1, "bark")
    presses += press(seen, "n", *["ArrowRight"] * 3, "o")  # end at the cursor
    assert spans(seen)[0][:2] == pytest.approx((start, start + 3), abs=0.02)
    presses += press(seen, "r", "t", "r", "q", "3")  # by a frame of 1 / 10 s; the third class
    assert spans(seen) == [(pytest.approx(start - 0.1, abs=0.02), pytest.approx(start + 2.9, abs=0.02), "whistle")]
    presses += press(seen, "c")
    assert presses == 13
    seen.page.wait_for_function("() => document.querySelector('#name').textContent !== 'dog'")
    said(seen, "1 video saved")
    saved = file_of(tmp_path)["dog"]
    assert saved.checked
    assert [(i.label, i.start_s) for i in saved.present] == [("whistle", pytest.approx(start - 0.1, abs=0.02))]
    assert len(saved.deleted) == 2
    assert seen.page.locator("#checked-count").inner_text() == "1 of 3 videos checked"
    assert "checked" in seen.page.locator("#videos li", has_text="dog").inner_text()
    seen.close()


def test_a_missing_event_takes_two_keys_at_its_ends(browser, site):  # noqa: F811
    seen = Visit(browser, site)
    seen.open("dog")
    press(seen, "e")
    seen.page.locator("#origin").select_option("none")
    seen.page.locator("#timeline").focus()
    press(seen, "ArrowRight", "i", "ArrowRight", "ArrowRight", "o")
    assert [row[:2] for row in spans(seen)] == [(1, 3)]
    press(seen, "ArrowRight", "i")  # beyond its end: the whole segment moves
    assert [row[:2] for row in spans(seen)] == [(4, 6)]
    press(seen, "u")
    assert [row[:2] for row in spans(seen)] == [(1, 3)]
    press(seen, "Control+z", "u", "u")
    assert len(spans(seen)) == 2
    press(seen, "u")
    said(seen, "Nothing to undo")
    seen.close()


def test_the_next_video_starts_from_its_own_detections(browser, tmp_path):  # noqa: F811
    write_run(tmp_path / "det", {"one": activations("one"), "two": activations("two", peak=0.0)}, {})
    with served(tmp_path / "det", tmp_path / "page") as server:
        seen = Visit(browser, server.url)
        seen.open("one")
        press(seen, "e")
        own = spans(seen)
        seen.open("two")
        assert spans(seen) != own
        assert len(spans(seen)) == seen.state("s.found[0].length")
        seen.close()


def test_typing_is_no_shortcut_and_enter_ends_it(browser, site):  # noqa: F811
    seen = Visit(browser, site)
    seen.open("dog")
    press(seen, "e")
    before = spans(seen)
    seen.page.locator("#label").fill("")
    seen.page.locator("#label").type("cuaio")
    assert (spans(seen), seen.page.locator("#name").inner_text()) == (before, "dog")
    press(seen, "Enter")
    assert "cuaio" in [row[2] for row in spans(seen)]
    assert seen.page.evaluate("document.activeElement.id") == "timeline"
    seen.page.evaluate(
        "() => { const held = new KeyboardEvent('keydown', {key: 'c', repeat: true, bubbles: true});"
        " document.body.dispatchEvent(held); }"
    )
    assert seen.page.locator("#checked-count").inner_text() == "0 of 3 videos checked"  # a key held down
    press(seen, "?")
    listed = seen.page.locator("#help").inner_text()
    assert all(words in listed for words in ("start at the cursor", "1 frame later", "checked: save, next video"))
    seen.shoot("keys")
    press(seen, "Escape")
    assert "start at the cursor" in seen.page.locator("#hints").inner_text()
    seen.close()


def test_what_is_not_touched_is_not_stated(browser, site, tmp_path):  # noqa: F811
    seen = Visit(browser, site)
    seen.open("dog")
    press(seen, "e", "y")  # accept the first of two
    seen.page.locator("#save").click()
    said(seen, "saved in")
    saved = file_of(tmp_path)["dog"]
    assert (len(saved.present), len(saved.untouched), saved.checked) == (1, 1, False)
    seen.close()


def test_two_windows_that_touch_different_detections_are_merged(browser, site, tmp_path):  # noqa: F811
    one, two = Visit(browser, site), Visit(browser, site)
    for seen in (one, two):
        seen.open("dog")
        press(seen, "e", "n", "p")  # the first detection
    press(one, "t")
    one.page.locator("#save").click()
    said(one, "saved in")
    press(two, "n", "Delete")
    two.page.locator("#save").click()
    said(two, "merged with corrections made elsewhere")
    saved = file_of(tmp_path)["dog"]
    assert [i.label for i in saved.present] == [spans(one)[0][2]]
    assert "bark" in {i.label for i in saved.deleted}
    one.page.evaluate("window.dispatchEvent(new Event('focus'))")
    one.page.wait_for_function("() => avlocPage.edit.segments().length === 1")  # shown here too
    two.complaints.remove(REFUSED)
    one.close()
    two.close()


@pytest.mark.parametrize("choice", ["keep-mine", "take-theirs", "keep-both"])
def test_two_windows_that_touch_one_detection_ask(browser, site, tmp_path, choice):  # noqa: F811
    one, two = Visit(browser, site), Visit(browser, site)
    for seen in (one, two):
        seen.open("dog")
        press(seen, "e", "n", "p")
    press(one, "t", "t", "t")
    mine = spans(one)[0]
    press(two, "r", "r", "r")
    theirs = spans(two)[0]
    one.page.locator("#save").click()
    said(one, "saved in")
    two.page.locator("#save").click()
    two.page.wait_for_selector("#conflict:not([hidden])")
    assert two.page.evaluate("document.activeElement.id") == "conflict"
    assert two.page.locator("#mine-list strong").count() > 0
    assert file_of(tmp_path)["dog"].present[0].end_s == pytest.approx(mine[1], abs=0.01)  # not overwritten
    press(two, "c")
    said(two, "Decide first")
    if choice == "keep-mine":
        two.shoot("conflict")
    two.page.locator(f"#{choice}").click()
    assert two.page.locator("#conflict").is_hidden()
    two.page.evaluate("avlocPage.saving.pending()")
    ends = sorted(round(i.end_s, 2) for i in file_of(tmp_path)["dog"].present if i.label == mine[2])
    expected = {"keep-mine": [theirs[1]], "take-theirs": [mine[1]], "keep-both": sorted([mine[1], theirs[1]])}[choice]
    assert ends == pytest.approx(expected, abs=0.01)
    if choice == "take-theirs":
        press(two, "u")
        assert spans(two)[0] == theirs  # not lost
    two.complaints.remove(REFUSED)
    one.close()
    two.close()


def test_edits_are_saved_when_the_video_is_left_and_kept_when_the_server_is_gone(browser, clips, page, tmp_path):  # noqa: F811
    with served(clips / "ours", clips / "page", page, corrections=tmp_path / "c.json") as server:
        seen = Visit(browser, server.url)
        seen.open("dog")
        press(seen, "e", "t", "j")
        said(seen, "1 video saved")
        assert not file_of(tmp_path)["dog"].checked
        seen.page.route("**/corrections", lambda route: route.abort())
        press(seen, "t")
        seen.page.locator("#save").click()
        said(seen, "not saved: Failed to fetch; is avloc view still running?")
        assert "not saved" in seen.page.locator("#videos").inner_text()
        seen.page.reload()
        seen.page.wait_for_selector("#stage:not([hidden])")
        assert "not saved" in seen.page.locator("#videos").inner_text()  # the browser has kept it
        seen.page.unroute("**/corrections")
        press(seen, "e")
        seen.page.locator("#save").click()
        said(seen, "saved in")
        assert len(file_of(tmp_path)) == 2
        seen.complaints.clear()
        seen.close()


def test_without_a_server_nothing_is_saved_or_retrained(browser, clips, tmp_path):  # noqa: F811
    build_page(PageSources(clips / "ours"), tmp_path / "page")
    seen = Visit(browser, (tmp_path / "page" / "index.html").as_uri())
    seen.open("dog")
    assert seen.page.locator("#teach").is_hidden()
    press(seen, "c")
    assert seen.page.locator("#checked-count").inner_text() == "1 of 3 videos checked"
    for name in ("#save", "#retrain", "#cancel"):
        assert seen.page.locator(name).is_hidden()
    assert not [url for url in seen.requests if url.startswith("http")]
    seen.close()


def test_the_flag_that_is_missing_is_named(browser, site):  # noqa: F811
    seen = Visit(browser, site)
    seen.page.wait_for_function("() => document.querySelector('#job-status').textContent.includes('give --run RUN')")
    assert seen.page.locator("#retrain").is_disabled()
    seen.close()


@pytest.mark.slow
def test_three_corrections_move_the_segments(browser, home, tmp_path):  # noqa: F811
    with served(home / "detections", tmp_path / "page") as server:
        seen = Visit(browser, server.url)
        suggested = seen.state("s.index.suggested")
        assert seen.page.locator("#videos .title").all_inner_texts()[:3] == suggested
        assert seen.page.locator("#checked-count").inner_text() == "0 of 3 suggested videos checked"
        for name in suggested:
            right = TRUTH[name]
            seen.page.wait_for_function("name => document.querySelector('#name').textContent === name", arg=name)
            seen.state("s.editing || avlocPage.edit.toggle()")
            seen.page.evaluate("t => avlocPage.player.seek(t)", right.start_s)
            press(seen, "i", CLASS_KEYS[right.label])
            seen.page.evaluate("t => avlocPage.player.seek(t)", right.end_s)
            press(seen, "o", "c")
        said(seen, "All suggested videos are checked")
        seen.page.evaluate("avlocPage.saving.pending()")
        before = find_results(home / "detections").read().likely().detections
        seen.page.locator("#retrain").click()
        seen.page.wait_for_selector("#cancel:not([hidden])")
        assert seen.page.locator("#retrain").is_hidden()
        seen.page.reload()
        seen.page.wait_for_selector("#cancel:not([hidden])")  # the job goes on
        seen.page.wait_for_selector("#changes[open]", timeout=120_000)
        assert "added" in seen.page.locator("#changes-sum").inner_text()
        seen.shoot("changes")
        after = find_results(home / "retrained-1" / "detections").read().likely().detections
        assert sum(map(len, after.values())) > sum(map(len, before.values()))
        for name in suggested:
            assert [d.label for d in after[name]] == [TRUTH[name].label]
            assert after[name][0].start_s == pytest.approx(TRUTH[name].start_s, abs=0.5)
            assert after[name][0].end_s == pytest.approx(TRUTH[name].end_s, abs=0.5)
        assert find_results(home / "detections").read().likely().detections == before  # the old result stays
        press(seen, "Escape")
        seen.page.locator("#continue").click()
        seen.page.wait_for_url("**/retrained-1/index.html*", timeout=60_000)
        seen.page.wait_for_function("() => avlocPage.state.data")
        assert len(seen.state("s.index.runs")) == 2  # the old beside the new
        assert all(seen.page.evaluate("v => avlocPage.saving.saved(v).checked", name) for name in suggested)
        seen.shoot("continued")
        seen.close()


def test_what_was_saved_is_there_in_a_new_session(browser, home, tmp_path):  # noqa: F811
    saved = home / "detections" / "corrections.json"
    known = VideoCorrections(
        "video_004", 20.0, (Instance(0.0, 3.0, "drum"),), (Instance(5.0, 6.0, "saw"),), checked=True
    )
    write_corrections(saved, [known])
    with served(home / "detections", tmp_path / "page") as server:
        seen = Visit(browser, server.url)
        seen.open("video_004")
        press(seen, "e")
        assert spans(seen) == [(0, 3, "drum")]
        press(seen, "t", "C")  # changed, and not checked after all
        said(seen, "saved in")
        seen.close()
    (after,) = read_corrections(saved)[0]
    assert (after.checked, after.deleted) == (False, known.deleted)
    assert json.loads(saved.read_text())["database"]["video_004"]["subset"] == "training"

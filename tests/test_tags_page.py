"""The page of draft labels in chromium, from file:// and served."""

from __future__ import annotations

import csv
import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from avloc.formats.labels import read_labels
from avloc.formats.tags import TagRow, read_tags, write_tags
from avloc.report.serve import HOST, PageServer
from avloc.report.tags.build import build_tags_page
from page_data import NASTY_LABEL, NASTY_NAME, write_clip
from test_page_browser import CHROMIUM, FLAGS

LABEL = NASTY_LABEL.replace(";", "")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    write_clip(tmp_path / "videos" / "dog.mp4")
    path = str(tmp_path / "videos" / "dog.mp4")
    rows = [
        TagRow("dog.mp4", "dog", True, 0.95, 4.0, 6.0, "both", path),
        TagRow("dog.mp4", LABEL, False, 0.3, 1.0, 3.0, "audio", path),
        TagRow(NASTY_NAME, "rain", True, 0.8, 0.0, 2.0, "audio", "/nowhere/x.mp4"),
        TagRow("empty.mp4", ""),
    ]
    write_tags(tmp_path / "tags.csv", rows)
    return tmp_path / "tags.csv"


@pytest.fixture
def site(table: Path) -> Iterator[PageServer]:
    server = PageServer(table.parent / "served", tags=table)
    server.served = build_tags_page(table, table.parent / "served", media="serve").served
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield server
    server.close()
    thread.join(5)


def test_missing_videos_are_told(table: Path) -> None:
    built = build_tags_page(table, table.parent / "page")
    assert built.count == 3
    assert set(built.problems) == {NASTY_NAME, "empty.mp4"}
    assert "video not found: /nowhere" in built.problems[NASTY_NAME]
    moved = build_tags_page(table, table.parent / "page", table.parent / "videos")
    assert "dog.mp4" not in moved.problems


def test_only_the_page_may_save(site: PageServer, table: Path) -> None:
    before = table.read_bytes()
    body = json.dumps({"videos": {"dog.mp4": {"dog": False}}}).encode()
    for origin, path, status in (
        ("http://evil.example", "/tags", 403),
        (f"http://{HOST}:{site.port}", "/corrections", 404),
        (f"http://{HOST}:{site.port}", "/tags", 200),
    ):
        assert table.read_bytes() == before
        connection = http.client.HTTPConnection(HOST, site.port, timeout=5)
        connection.request("POST", path, body, {"Origin": origin, "Content-Type": "application/json"})
        assert connection.getresponse().status == status
        connection.close()
    assert read_tags(table)[0] == TagRow("dog.mp4", "dog", False, 0.95, 4.0, 6.0, "both", read_tags(table)[0].path)


@pytest.fixture
def page() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        opened = browser.new_page(viewport={"width": 1200, "height": 700})
        complaints: list[str] = []
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        yield opened
        browser.close()
        assert complaints == []


def test_tick_strike_out_add_and_save_by_keyboard(site: PageServer, table: Path, page: Any) -> None:
    page.goto(site.url)
    page.wait_for_selector(".draft")
    assert page.inner_text("#summary") == "3 videos, 2 of 3 drafts ticked"
    assert page.locator(".draft").nth(1).inner_text().startswith(LABEL[:20])
    page.wait_for_function("() => document.querySelector('#video').readyState >= 1")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('#video').currentTime >= 4.2")
    page.wait_for_function("() => document.querySelector('#video').paused")  # it stops at the moment's end
    assert page.evaluate("document.querySelector('#video').currentTime") == pytest.approx(6.0, abs=0.5)
    page.keyboard.press("x")
    page.keyboard.press("j")
    page.keyboard.press("x")
    assert page.inner_text("#summary") == "3 videos, 2 of 3 drafts ticked"
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    page.keyboard.press("a")
    page.keyboard.type("own, label")
    page.keyboard.press("Enter")
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("s")
    page.wait_for_function("() => document.querySelector('#status').textContent.includes(' saved in')")
    kept = [(row.video, row.label, row.keep) for row in read_tags(table)]
    assert kept == [
        ("dog.mp4", "dog", True),
        ("dog.mp4", LABEL, False),
        ("dog.mp4", "own, label", False),
        (NASTY_NAME, "rain", True),
        ("empty.mp4", "", True),
    ]


def test_what_is_wrong_with_a_label_is_said_until_something_else_is_typed(table: Path, page: Any) -> None:
    build_tags_page(table, table.parent / "page")
    page.goto((table.parent / "page" / "index.html").as_uri())
    page.wait_for_selector(".draft")
    page.fill("#label", "a;b")
    page.keyboard.press("Enter")
    assert page.inner_text("#status") == "A label holds no ; and is not background."
    page.fill("#label", "ab")
    assert page.inner_text("#status") == ""
    page.keyboard.press("Enter")
    assert page.inner_text("#status") == "not saved yet"
    page.fill("#label", "background")
    page.keyboard.press("Enter")
    page.locator("#list h3").last.click()
    assert page.inner_text("#status") == "not saved yet"


def test_a_reloaded_page_shows_the_table_and_sends_only_changes(site: PageServer, table: Path, page: Any) -> None:
    page.goto(site.url)
    page.wait_for_selector(".draft")
    rows = read_tags(table)
    write_tags(
        table, [replace(row, keep=False) if row.label == "rain" else row for row in rows]
    )  # somebody else's edit
    page.keyboard.press("x")
    page.keyboard.press("s")
    page.wait_for_function("() => document.querySelector('#status').textContent.includes('1 video saved in')")
    kept = {(row.video, row.label): row.keep for row in read_tags(table)}
    assert (kept["dog.mp4", "dog"], kept[NASTY_NAME, "rain"]) == (False, False)
    page.reload()
    page.wait_for_selector(".draft")
    assert page.locator(".draft input:checked").count() == 0
    page.keyboard.press("s")
    page.wait_for_function("() => document.querySelector('#status').textContent.includes('0 videos saved in')")
    assert {(row.video, row.label): row.keep for row in read_tags(table)} == kept


def test_from_disk_it_downloads_the_table(table: Path, page: Any) -> None:
    build_tags_page(table, table.parent / "page")
    page.goto((table.parent / "page" / "index.html").as_uri())
    page.wait_for_selector(".draft")
    assert page.locator("#save").is_hidden()
    page.locator(".draft input").nth(1).check()
    page.locator("#weak").uncheck()
    assert page.locator(".draft").count() == 3  # what was ticked stays
    page.select_option("#filter", "=rain")
    assert page.locator(".draft").count() == 1
    page.locator("#strike-all").click()
    with page.expect_download() as started:
        page.locator("#download").click()
    saved = table.parent / "downloaded.csv"
    started.value.save_as(saved)
    assert started.value.suggested_filename == "tags.csv"
    assert [r["keep"] for r in csv.DictReader(saved.read_text(encoding="utf-8").splitlines())] == [
        "yes",
        "yes",
        "no",
        "",
    ]
    assert read_labels(saved).rows[0].labels == ("dog", LABEL)
    assert not page.evaluate("window.hacked === 1")

"""The parts of the page for checking and retraining: narrow, dark, with names for screen readers."""

from __future__ import annotations

import pytest

from avloc.formats.corrections import VideoCorrections, write_corrections
from avloc.types import Instance
from teach_site import served
from test_page_browser import CHROMIUM, Visit, browser  # noqa: F401
from test_teach_browser import home, press, trained  # noqa: F401

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")


def test_narrow_and_dark(browser, home, tmp_path):  # noqa: F811
    known = VideoCorrections("video_004", 20.0, (Instance(0.0, 3.0, "drum"),), checked=True)
    write_corrections(home / "detections" / "corrections.json", [known])
    with served(home / "detections", tmp_path / "page") as server:
        for width, scheme in ((390, "light"), (390, "dark"), (1280, "dark")):
            seen = Visit(browser, server.url, width, 844, scheme)
            press(seen, "e")
            assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
            seen.shoot(f"teach-{width}-{scheme}")
            seen.close()


def test_new_parts_have_names(browser, home, tmp_path):  # noqa: F811
    with served(home / "detections", tmp_path / "page") as server:
        seen = Visit(browser, server.url)
        press(seen, "e")
        script = """() => {
            for (const e of document.querySelectorAll('#teach *, #conflict, #changes')) e.hidden = false;
            document.querySelector('#changes').showModal();
            return [...document.querySelectorAll('button, input, progress, section, dialog, [tabindex]')]
            .filter(e => e.offsetParent && e.id !== 'main' && e.id !== 'continue' && e.id !== 'stage')
            .filter(e => !(e.textContent.trim() || e.getAttribute('aria-label') || (e.labels && e.labels.length)))
            .map(e => e.outerHTML); }"""
        assert seen.page.evaluate(script) == []
        seen.close()

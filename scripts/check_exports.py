"""Open our exports with the programs they are for; docs/exports.md has the results with their date.

    python scripts/check_exports.py OUT [--via via-3.x.y/src/html/_via_video_annotator.html]

Writes OUT/ with a video of 12 fps and its exports, and prints a line per program, also where it is not installed.
VIA: its page, from a checkout of its repository, in chromium by playwright. Final Cut: OpenTimelineIO's adapters of
FCP 7 and FCP X (pip install otio-fcp-adapter otio-fcpx-xml-adapter).
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

from avloc.interchange.registry import parse_formats, with_media, write_formats
from avloc.interchange.segments import VideoSegments
from avloc.media.encode import write_video
from avloc.types import Detection

FOUND = (
    Detection(0.5, 1.25, "bark|howl", 0.9),
    Detection(1.0, 2.0, "bark|howl", 0.5),
    Detection(2.0, 3.0, "<i>x</i>", 0.4),
)


def export(out: Path) -> dict[str, Path]:
    """{format: its first file} of a video with three segments."""
    path = out / "videos" / "dog.mp4"
    frames = (np.full((48, 64, 3), 3 * k, np.uint8) for k in range(48))
    write_video(path, frames, Fraction(12), np.zeros(64_000, np.float32))
    video = with_media(VideoSegments("dog", FOUND), path, frames=True)
    return {name: write_formats(out, [name], [video])[0] for name in parse_formats("all")}


def fcp(name: str) -> Callable[[Path], str]:
    """A check that OpenTimelineIO's adapter writes a timeline for Final Cut and reads it back."""

    def check(path: Path) -> str:
        import opentimelineio

        timeline = opentimelineio.adapters.read_from_file(str(path))
        text = opentimelineio.adapters.write_to_string(timeline, adapter_name=name)
        again = opentimelineio.adapters.read_from_string(text, adapter_name=name)
        return f"{type(again).__name__}, {len(text)} characters"

    return check


def via(html: Path) -> Callable[[Path], str]:
    """A check that VIA's page loads the project and shows its segments."""

    def check(path: Path) -> str:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as engine:
            browser = engine.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page()
            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.route("http*://**", lambda route: route.abort())
            page.goto(html.resolve().as_uri())
            page.wait_for_function("typeof via !== 'undefined' && via.d")
            page.evaluate("text => via.d.project_load(text)", path.read_text(encoding="utf-8"))
            page.wait_for_timeout(3000)
            page.screenshot(path=path.with_suffix(".png"))
            groups = page.evaluate("Object.values(via.d.store.metadata).map(m => [m.z[0], m.z[1], m.av['1']])")
            browser.close()
        if errors or len(groups) != len(FOUND):
            raise ValueError(f"{errors[:3]}, {groups}")
        return f"{len(groups)} segments"

    return check


def main() -> None:
    """Export, and print one line per program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("out", type=Path)
    parser.add_argument("--via", type=Path, help="page of VIA's video annotator")
    args = parser.parse_args()
    files = export(args.out)
    checks = {("otio", "FCP 7 XML"): fcp("fcp_xml"), ("otio", "FCP X XML"): fcp("fcpx_xml")}
    if args.via is not None:
        checks["via", "VIA 3"] = via(args.via)
    else:
        print("VIA 3: NOT CHECKED, no --via")
    for (name, program), check in checks.items():
        try:
            print(f"{program}: opens {files[name].name}: {check(files[name])}")
        except Exception as error:  # any failure of a program is its result
            print(f"{program}: FAILED or not installed: {type(error).__name__}: {str(error)[:300]}")


if __name__ == "__main__":
    main()

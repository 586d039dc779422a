"""Open our exports with the programs they are for; docs/exports.md has the results with their date.

    python scripts/check_exports.py OUT [--via via-3.x.y/src/html/_via_video_annotator.html]
                                        [--label-studio http://127.0.0.1:8080 EMAIL PASSWORD]

Writes OUT/ with a video of 12 fps and its exports, and prints a line per program, also where it is not installed.
VIA: its page, from a checkout of its repository, in chromium by playwright. Final Cut: OpenTimelineIO's adapters of
FCP 7 and FCP X (pip install otio-fcp-adapter otio-fcpx-xml-adapter), Kdenlive: otio-kdenlive-adapter. BORIS: its own
reading and checks, where it is installed (pip install boris-behav-obs; it needs libmpv and, without a screen,
QT_QPA_PLATFORM=offscreen). Label Studio: a running server. Audacity has no way to import labels without its dialog:
File > Import > Labels, then compare.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from avloc.interchange.registry import parse_formats, with_media, write_formats
from avloc.interchange.segments import VideoSegments
from avloc.media.encode import write_video
from avloc.types import Detection

FOUND = (
    Detection(0.5, 1.25, "bark|howl", 0.9),
    Detection(1.0, 2.0, "bark|howl", 0.5),
    Detection(2.0, 3.0, "<i>x</i>", 0.4),
    Detection(0.0, 0.001, 'say "hi"', 0.8),
    Detection(3.0, 3.9, "été 犬 🐕", 0.7),
    Detection(3.999, 4.0, "a & b; c\\d", 0.6),
)


def export(out: Path) -> dict[str, Path]:
    """{format: its first file} of a video with three segments."""
    path = out / "videos" / "my dog (1) é.mp4"
    frames = (np.full((48, 64, 3), 3 * k, np.uint8) for k in range(48))
    write_video(path, frames, Fraction(12), np.zeros(64_000, np.float32))
    video = with_media(VideoSegments(path.stem, FOUND), path, frames=True)
    return {name: write_formats(out, [name], [video])[0] for name in parse_formats("all")}


def timeline(name: str) -> Callable[[Path], str]:
    """A check that an adapter of OpenTimelineIO writes a timeline for its program and reads it back."""

    def check(path: Path) -> str:
        import opentimelineio

        ours = opentimelineio.adapters.read_from_file(str(path))
        text = opentimelineio.adapters.write_to_string(ours, adapter_name=name)
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


def boris(path: Path) -> str:
    """Open the project as BORIS does, with its checks of project and events."""
    sys.argv[1:] = []  # boris reads them when it is imported
    from boris import project_functions

    _, _, project, problem = project_functions.open_project_json(str(path))
    problem = problem or project_functions.check_project_integrity(project, "hh:mm:ss", str(path))
    (name, observation), *_ = project["observations"].items()
    fine, told = project_functions.check_state_events_obs(name, project["behaviors_conf"], observation)
    if problem or not fine or len(observation["events"]) != 2 * len(FOUND):
        raise ValueError(f"{problem}, {told}, {len(observation['events'])} events")
    return f"{len(observation['events'])} events"


def label_studio(url: str, email: str, password: str) -> Callable[[Path], str]:
    """A check that a server takes the labelling interface and the tasks, and gives the same regions back."""

    def check(path: Path) -> str:
        import requests

        session = requests.Session()
        session.get(f"{url}/user/login/")
        form = {"email": email, "password": password, "csrfmiddlewaretoken": session.cookies["csrftoken"]}
        session.post(f"{url}/user/login/", data=form, headers={"Referer": url})
        session.headers.update({"Referer": url, "X-CSRFToken": session.cookies["csrftoken"]})

        def call(method: str, place: str, content: object = None) -> Any:
            answer = session.request(method, f"{url}/api/{place}", json=content)
            answer.raise_for_status()
            return answer.json()

        interface, tasks = path.with_suffix(".xml").read_text(), json.loads(path.read_text())
        project = call("POST", "projects/", {"title": "avloc", "label_config": interface})["id"]
        call("POST", f"projects/{project}/import", tasks)
        found = call("GET", f"tasks?project={project}&fields=all")["tasks"][0]["predictions"][0]["result"]
        if [r["value"] for r in found] != [r["value"] for r in tasks[0]["predictions"][0]["result"]]:
            raise ValueError(f"regions differ: {found}")
        return f"{len(found)} regions"

    return check


def main() -> None:
    """Export, and print one line per program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("out", type=Path)
    parser.add_argument("--via", type=Path, help="page of VIA's video annotator")
    parser.add_argument("--label-studio", nargs=3, metavar=("URL", "EMAIL", "PASSWORD"), help="a running server")
    args = parser.parse_args()
    files = export(args.out)
    adapters = {"FCP 7 XML": "fcp_xml", "FCP X XML": "fcpx_xml", "Kdenlive": "kdenlive"}
    checks = {("otio", program): timeline(adapter) for program, adapter in adapters.items()}
    checks["boris", "BORIS"] = boris
    if args.label_studio:
        checks["labelstudio", "Label Studio"] = label_studio(*args.label_studio)
    else:
        print("Label Studio: NOT CHECKED, no --label-studio")
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

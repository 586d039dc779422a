"""The stated requirements are those that are tested: floors, pins, and the installed releases."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from avloc.media import pyav
from avloc.media.container import open_container
from avloc.media.probe import probe
from odd_media import grey_frames, write_video

ROOT = Path(__file__).parent.parent
EXTRAS = ("media", "pretrained", "report", "tb", "frames", "export")  # EXTRAS of the Makefile
_STATED = re.compile(r"([\w.-]+)>=([\d.]+)")


def stated() -> dict[str, str]:
    """{package: floor} of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    rows = [*project["dependencies"], *(row for extra in EXTRAS for row in project["optional-dependencies"][extra])]
    found = [_STATED.fullmatch(row) for row in rows]
    assert all(found), rows
    return {match[1]: match[2] for match in found if match is not None}


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def numbers(text: str) -> tuple[int, ...]:
    """A release without the zeros at its end."""
    found = [int(part) for part in re.findall(r"\d+", text.partition("+")[0])]
    while found and found[-1] == 0:
        found.pop()
    return tuple(found)


def test_the_floors_that_are_tested_are_those_that_are_stated() -> None:
    assert {name: numbers(floor) for name, floor in stated().items()} == {
        name: numbers(floor) for name, floor in pins("constraints-floors.txt").items()
    }


def test_pinned_and_installed_releases_are_permitted() -> None:
    pinned = pins("constraints.txt")
    for name, floor in stated().items():
        assert numbers(pinned[name]) >= numbers(floor), name
        assert numbers(version(name)) >= numbers(floor), name


@pytest.mark.parametrize("title", ["caf\u00e9", "caf\udce9"])
def test_tags_in_any_encoding_are_text(title: str) -> None:
    """PyAV 19 reads a byte that is not UTF-8 as a lone surrogate, which no terminal and no JSON file takes."""
    assert pyav.tag({"title": title}, "title") == title.replace("\udce9", "")
    assert pyav.tag({"title": title}, "name") == ""


def test_a_tag_in_latin_1_does_not_prevent_opening(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", grey_frames(3))
    raw = path.read_bytes()
    assert b"VideoHandler" in raw or b"Lavf" in raw
    path.write_bytes(raw.replace(b"Lavf", b"L\xe9vf"))
    with open_container(path) as container:
        assert "vf" in pyav.tag(container.metadata, "ENCODER")
        assert pyav.late_streams(container) == 0
    assert probe(path).width

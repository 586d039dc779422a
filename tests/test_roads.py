"""From a published data set to its numbers by the commands of docs/datasets.md, on small files in the same layouts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from avloc.cli.app import app
from avloc.formats.features import FeatureStore
from avloc.model.checkpoint import load_model
from avloc.presets import PRESETS
from road_sets import make_activitynet, make_ave, make_llp, make_thumos, make_unav

PAGE = (Path(__file__).parents[1] / "docs/datasets.md").read_text(encoding="utf-8")
ROADS: dict[str, tuple[Callable[[Path], None], str]] = {
    "AVE": (make_ave, "Commands"),
    "ActivityNet 1.2": (make_activitynet, "Commands for 1.2"),
    "ActivityNet 1.3": (make_activitynet, "Commands for 1.3"),
    "THUMOS14": (make_thumos, "Commands"),
    "THUMOS14, JSON": (make_thumos, "Commands for a JSON and folders"),
    "UnAV-100": (make_unav, "Commands"),
    "LLP": (make_llp, "Commands"),
}
"""{road: (writes its files, heading of its commands)}; the road's first word starts the title of its section."""

SMALL = ("model.embed_dim=8", "train.steps=2", "train.batch_size=4", "train.eval_every=2")


def commands(road: str) -> list[list[str]]:
    """The words of each command of a road, from the page."""
    title = re.split("[ ,]", road)[0]
    section = next(part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE) if part.startswith(title))
    block = section.split(f"**{ROADS[road][1]}**\n\n")[1]
    lines = re.match(r"(?:    .*\n)+", block)
    assert lines is not None
    return [shlex.split(line, comments=True) for line in lines[0].splitlines()]


def walk(words: list[str]) -> Result:
    assert words[0] == "avloc"
    small = [part for setting in SMALL for part in ("--set", setting)] if words[1] in ("train", "tables") else []
    done = CliRunner().invoke(app, [*words[1:], *small])
    assert done.exit_code == 0, (words, done.output, done.exception)
    return done


@pytest.fixture(params=ROADS)
def road(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    ROADS[request.param][0](tmp_path)
    return str(request.param)


def test_doctor_and_convert(road: str) -> None:
    """Sound by the doctor; convert suggests the page's own further commands."""
    page = commands(road)
    converted = [words for words in page if words[1] == "convert"]
    for words in page:
        if words[1] == "doctor":
            assert "no errors" in walk(words).output
    (words,) = converted
    output = walk(words).output
    suggested = [shlex.split(line) for line in output.splitlines() if line.startswith("  avloc")]
    own = [line for line in suggested if line[1] == "train"]
    assert [line[line.index("--preset") + 1] in PRESETS for line in own] == [True]
    if road == "LLP":  # trained twice
        assert any(set(own[0]) - {"run"} < set(line) for line in page)
        return
    assert own[0] in page
    assert len(suggested) == 3
    if road not in ("AVE", "ActivityNet 1.2", "THUMOS14, JSON"):  # these localize more, score with another file, a list
        assert all(line in page for line in suggested)


@pytest.mark.slow
def test_all_commands(road: str) -> None:
    for words in commands(road):
        output = walk(words).output
        if words[1] == "evaluate":
            assert "not in the detections" not in output
            assert re.search(r"(average|segment level)\D+\d+\.\d", output)
            assert road != "AVE" or re.search(r"snippets: accuracy \d+\.\d", output)
    if road == "AVE":
        sizes = {load_model(run)[1].config.model.grid_cells for run in Path("tables/runs").glob("*/run")}
        assert sizes == {1, 49}
        stores = [FeatureStore(f"ave/{name}").describe() for name in ("features", "features_grid")]
        assert [facts.visual_dim for facts in stores] == [64, 49 * 64]

"""Settings: old names are read everywhere, unknown ones name their neighbours."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import yaml

from avloc.config import (
    LIKELY,
    ContrastOptions,
    LocalizeConfig,
    RunConfig,
    differences,
    likely_from,
    preset,
    read_config,
    renamed,
)
from avloc.errors import ConfigError
from avloc.formats.results import find_results
from avloc.report.page.write import known_options

OLD = {
    "decode": "multi",
    "min_snippets": 2,
    "min_score": 0.0,
    "min_duration_s": 0.0,
    "merge_gap_s": 0.0,
    "window_snippets": 1024,
    "class_gate": "mean",
    "threshold_factor": 0.5,
    "score_weight": 0.7,
    "smooth_snippets": 0,
    "class_share": 0.1,
    "min_classes": 2,
    "levels": 5,
    "smooth_passes": 1,
    "outer_margin": 0.5,
    "beyond": 0.5,
    "whole": 0.5,
    "brief": 8.0,
    "video_weight": 0.0,
    "contrast_slope": 8.0,
    "contrast_middle": 0.2,
    "nms_sigma": 0.3,
    "max_per_class": 1000,
    "calibration_slope": 1.2,
    "calibration_offset": -2.35,
    "weakest": 0.01,
}
"""`localize` as configurations had it before its decoders had groups of their own; the defaults of that time."""
SINCE = {"short_video_bonus": 8.0, "calibration_slope": 1.2, "calibration_offset": -2.35}
"""Settings of OLD whose default has changed: they were chosen on test videos, now on training videos."""


@pytest.fixture(autouse=True)
def notes(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    renamed._note.cache_clear()
    caplog.set_level(logging.INFO, "avloc.config")
    return caplog


def test_settings_of_earlier_versions_are_the_same_settings(tmp_path: Path) -> None:
    assert LocalizeConfig.model_validate(OLD) == LocalizeConfig(contrast=ContrastOptions.model_validate(SINCE))
    same = preset("default", {f"localize.contrast.{key}": value for key, value in SINCE.items()})
    saved = {**preset("default").model_dump(), "localize": OLD}
    assert RunConfig.model_validate_json(json.dumps(saved)) == same
    assert differences(RunConfig.model_validate(saved), preset("default")) == []
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(saved))
    assert read_config(tmp_path / "old.yaml") == same
    (tmp_path / "new.yaml").write_text(preset("paper").to_yaml())
    assert read_config(tmp_path / "new.yaml") == preset("paper")


def test_differences_are_in_what_changes_the_result() -> None:
    frozen = {"train.frozen_stages": 1, "train.init_from": "runs/a"}
    old = preset("default", frozen)
    other = {"train.init_from": "b", "train.devices": 2, "train.accelerator": "cpu", "localize.min_score": 0.5}
    assert differences(old, preset("default", {**frozen, **other})) == []
    (line,) = differences(old, preset("default", {**frozen, "loss.topk_divisor": 4}))
    assert line == "loss.topk_divisor was 8, is 4"


def test_old_keys_are_read_as_overrides_and_noted_once(notes: pytest.LogCaptureFixture) -> None:
    old = {"localize.whole": 0.25, "localize.weakest": "0.5", "localize.decode": "multi", "localize.score_weight": 1}
    for _ in range(2):
        settings = preset("paper", old).localize
    assert settings.contrast == ContrastOptions(full_video_margin=0.25, min_probability=0.5)
    assert (settings.decode, settings.actions.score_weight) == ("contrast", 1)
    (note,) = notes.records
    assert note.levelname == "WARNING"
    for new in ("contrast.full_video_margin", "contrast.min_probability", "decode=contrast", "actions.score_weight"):
        assert f"is now localize.{new}" in note.getMessage()


def test_an_override_wins_whatever_its_spelling() -> None:
    for old in (True, False):
        key = "localize.levels" if old else "localize.contrast.levels"
        assert preset("default", {"localize.contrast": {"levels": 7, "min_classes": 1}, key: 3}).localize.contrast == (
            ContrastOptions(levels=3, min_classes=1)
        )
    assert LocalizeConfig.model_validate({"levels": 3, "contrast": {"levels": 4}}).contrast.levels == 4
    given = {"levels": 3, "contrast": ContrastOptions(min_classes=1)}
    assert LocalizeConfig.model_validate(given).contrast == ContrastOptions(min_classes=1)


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("localize.contrast.level", "localize.contrast.levels"),
        ("localize.thresold_factor", "localize.actions.threshold_factor"),
        ("localize.actions.levels", "localize.contrast.levels"),
        ("levels", "localize.contrast.levels"),
        ("weakest", "localize.contrast.min_probability"),
        ("localize.contrast", "localize.contrast.levels"),
    ],
)
def test_unknown_keys_name_their_neighbours(key: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"there is no setting '{key}'. Did you mean '{meant}'"):
        preset("default", {key: 3})
    with pytest.raises(ConfigError, match=r"localize\.contrast\.levels: expected a whole number from 1 to 100, got 0"):
        preset("default", {"localize.levels": 0})


@pytest.mark.parametrize("old", [True, False])
def test_reports_read_both_spellings(tmp_path: Path, old: bool) -> None:
    settings = OLD if old else LocalizeConfig().model_dump()
    (tmp_path / "segments.csv").write_text("video,start_s,end_s,label,score\nv,0,1,a,0.5\n")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"config": {"localize": settings}}))
    run = find_results(tmp_path).read()
    assert run.likely_from == likely_from("contrast") == likely_from("multi") == LIKELY
    page = known_options(run.options)
    assert page.pop("decode") == settings["decode"]
    assert page == {name: OLD[name] for name in page}
    assert len(page) == 5


@pytest.mark.parametrize("step_s", [1e-3, 3600])
def test_the_bounds_of_a_step_are_included(step_s: float) -> None:
    assert float(preset("demo", {"extract.step_s": step_s}).extract.step) == step_s

"""Settings derived from the data, what is said before training, and when training stops."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from avloc.config import FEW, LARGE, RunConfig, preset, read_config, resolve, settings_for, with_overrides
from avloc.errors import ConfigError, InputError
from avloc.paper.cells import open_data
from avloc.presets import AUTOMATIC
from avloc.train import loop
from avloc.train.loop import fit
from avloc.train.plan import introduction, plan, rare_classes, time_left
from avloc.train.resume import decide, train
from avloc.train.validate import Validation
from feature_sets import make_videos, write_set
from test_cli import TRAIN, run

TINY = {"model.embed_dim": 8, "train.steps": 4, "train.accelerator": "cpu"}
UNVALIDATED = {"train.steps": 10, "train.eval_every": 10}


def at(config: RunConfig, key: str) -> object:
    section, _, name = key.partition(".")
    return getattr(getattr(config, section), name)


def test_small_sets_get_a_small_network_and_large_ones_the_default_preset() -> None:
    auto = preset("auto")
    small, large = resolve(auto, LARGE), resolve(auto, LARGE + 1)
    assert large == preset("default")
    assert {key: at(small, key) for key in AUTOMATIC} == {
        "model.embed_dim": 256,
        "train.steps": 400,
        "train.batch_size": 16,
        "train.learning_rate": 1e-3,
        "train.weight_decay": 0.01,
        "train.eval_every": 100,
        "loss.prior_weight": 1.0,
        "localize.words_weight": 0.4,
    }
    assert resolve(auto, 1) == small
    assert set(auto.train.auto) == set(settings_for(1)) == set(AUTOMATIC)
    assert small.train.auto == large.train.auto == []
    assert with_overrides(small, {key: at(preset(), key) for key in AUTOMATIC}) == preset("default")  # nothing else


def test_a_given_setting_wins(tmp_path: Path) -> None:
    given = {"train.steps": 8000, "model.embed_dim": 1024}  # the latter is the default's value
    asked = preset("auto", given)
    path = tmp_path / "auto.yaml"
    path.write_text(preset("auto").to_yaml())
    assert asked == with_overrides(preset("auto"), given) == read_config(path, given)
    found = resolve(asked, 30)
    assert (found.train.steps, found.model.embed_dim, found.train.batch_size) == (8000, 1024, 16)
    assert found.train.eval_every == 2000  # a quarter of the steps that are made
    assert resolve(preset("auto", {"train.steps": 3}), 30).train.eval_every == 1
    assert resolve(preset("paper"), 30) == preset("paper")


def test_only_settings_with_a_rule_can_be_left_to_the_data() -> None:
    with pytest.raises(ConfigError, match=r"expected some of model\.embed_dim, .*, not train.seed"):
        preset("auto", {"train.auto": ["train.seed"]})
    with pytest.raises(ConfigError, match=r"train\.auto"):
        preset("auto", {"train.auto": 3})
    with pytest.raises(InputError, match="the tables need fixed settings"):
        open_data("auto=somewhere")


def test_a_run_is_reproducible_from_its_configuration(tmp_path: Path) -> None:
    features, labels = write_set(tmp_path, make_videos(count=9))
    asked = preset("auto", TINY)
    first = train(features, labels, tmp_path / "run", asked)
    written = read_config(tmp_path / "run" / "config.yaml")
    assert written.train.auto == []
    assert (written.train.batch_size, written.train.learning_rate) == (16, 1e-3)
    assert first.record.config == json.loads(written.model_dump_json())
    assert not train(features, labels, tmp_path / "run", asked).trained
    assert decide(features, labels, tmp_path / "run", written) == "finished"
    again = fit(features, labels, tmp_path / "again", written)
    losses = [[row["loss/total"] for row in record.history] for record in (first.record, again)]
    assert losses[0] == losses[1]
    with pytest.raises(InputError, match=r"train\.batch_size was 16, is 30"):
        decide(features, labels, tmp_path / "run", preset("default", TINY))


def test_rare_classes_are_counted_with_the_videos_held_out(tmp_path: Path) -> None:
    features, labels = write_set(tmp_path, make_videos(count=3 * FEW))
    config = preset("auto", {"train.holdout": 0.3})
    _, data = plan(features, labels, config)
    assert len(data.validation)
    assert rare_classes(data) == ""
    lines = labels.read_text().splitlines()
    labels.write_text("\n".join(lines[:-2]) + "\n")  # drum and saw lose a video
    _, data = plan(features, labels, config)
    assert rare_classes(data).startswith(
        f"2 classes with fewer than {FEW} labelled videos: drum ({FEW - 1} videos), saw ({FEW - 1} videos). Expect"
    )


def test_before_training_its_size_and_duration_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    features, labels = write_set(tmp_path, make_videos(count=9))
    config, data = plan(features, labels, preset("auto"))
    assert introduction(config, data) == (
        "training on 8 videos, 1 for validation, 3 classes: 400 steps of 8 videos, d_x 256"
    )
    clock = itertools.count(0, 300)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    said: list[str] = []
    fit(features, labels, tmp_path / "run", preset("auto", {**TINY, **UNVALIDATED}), say=said.append)
    assert said[1:] == ["training takes about 10 min"]  # 300 s for 3 steps, 6 to go
    monkeypatch.undo()
    command = ["train", "--features", features, "--labels", labels, "-o", tmp_path / "other", *TRAIN]
    code, out, err = run(capsys, *command)
    assert code == 0
    assert (
        "training on 8 videos, 1 for validation, 3 classes: 4 steps of 8 videos, d_x 8\ntraining takes about 10 s\n"
        in out
    )
    assert "3 classes with fewer than 4 labelled videos: bark (3 videos), drum (3 videos)" in " ".join(err.split())
    assert read_config(tmp_path / "other" / "config.yaml").train.learning_rate == 1e-3  # the preset `auto`
    code, out, _ = run(capsys, *command)
    assert code == 0
    assert "training on" not in out  # finished before


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "10 s"), (44, "40 s"), (89, "90 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h"), (40000, "11.1 h")],
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert time_left(seconds) == f"about {text}"


def scored(monkeypatch: pytest.MonkeyPatch, scores: Mapping[int, float]) -> list[int]:
    """Replace validation, which is called at steps 1, 2, ...; returns the list of these steps."""
    steps: list[int] = []
    health = dict.fromkeys(("health/background", "health/reliability", "health/busiest_class"), 0.5)

    def found(*_: object) -> Validation:
        steps.append(len(steps) + 1)
        score = scores.get(steps[-1], 0.0)
        return Validation({**health, "validation/mil": 0.0, "validation/video_ap": score})

    monkeypatch.setattr(loop, "validate", found)
    return steps


PATIENT = {"train.steps": 12, "train.eval_every": 1, "train.select_after": 0.5, "train.patience": 3}


@pytest.mark.parametrize(
    ("scores", "last", "kept"),
    [
        ({1: 0.9, 6: 0.2, 7: 0.4, 8: 0.5}, 11, 8),  # the first half does not count
        ({6: 0.4, 7: 0.4, 8: 0.4}, 9, 8),  # an equal score is no improvement, and is kept
        ({k: k / 20 for k in range(1, 13)}, 12, 12),
    ],
)
def test_training_stops_when_validation_no_longer_improves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scores: dict[int, float], last: int, kept: int
) -> None:
    features, labels = write_set(tmp_path, make_videos(count=9))
    config = preset("default", {**TINY, **PATIENT})
    scored(monkeypatch, scores)
    record = fit(features, labels, tmp_path / "run", config)
    assert (record.last_step, record.selected_step) == (last, kept)
    (tmp_path / "run" / "record.json").unlink()  # killed just before it was written
    again = fit(features, labels, tmp_path / "run", config, resume=True)
    assert (again.last_step, again.selected_step) == (last, kept)


def test_without_patience_or_without_a_score_every_step_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, labels = write_set(tmp_path, make_videos(count=9))
    scored(monkeypatch, {4: 0.9})
    endless = preset("default", {**TINY, **PATIENT, "train.patience": 0})
    assert fit(features, labels, tmp_path / "a", endless).last_step == 12
    last = preset("default", {**TINY, **PATIENT, "train.selection": "last"})
    assert fit(features, labels, tmp_path / "b", last).last_step == 12

"""The library calls behind the commands, without the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from avloc.config import RunConfig, preset
from avloc.errors import InputError
from avloc.formats.results import find_results
from avloc.model.files import PREVIOUS_FILE, RECORD_FILE, STATE_FILE
from avloc.paper.plan import make_tables, plan_tables
from avloc.pipeline.folder import localize_folder, plan_folder
from avloc.train.resume import decide, train
from avloc.workflow import Workflow, match_labels
from feature_sets import make_videos, write_set, write_split_set
from test_cli import film

SMALL = {"train.steps": 4, "train.eval_every": 2, "model.embed_dim": 8}


def test_workflow_from_videos_to_page(tmp_path: Path) -> None:
    for k in range(4):
        film(tmp_path / "videos" / f"clip_{k}.mp4", 3.0, seed=k)
    labels = tmp_path / "labels.csv"
    labels.write_text("video,labels\n" + "".join(f"clip_{k},{'wave' if k % 2 else 'jump'}\n" for k in range(4)))
    job = Workflow([str(tmp_path / "videos")], labels, tmp_path / "out", preset("default", SMALL))
    steps: list[tuple[int, int, str]] = []
    result = job.run(lambda done, total, text: steps.append((done, total, text)))
    assert len(result.features.done) == len(result.detections.videos) == result.page.count == 4
    assert result.run.trained
    assert result.run.record.classes == ("jump", "wave")
    assert (tmp_path / "out" / "page" / "index.html").is_file()
    assert (4, 4, "clip_3.mp4") in steps
    again = job.run()
    assert (len(again.features.skipped), again.run.trained) == (4, False)
    assert again.run.record == result.run.record
    for name in (STATE_FILE, PREVIOUS_FILE):
        (tmp_path / "out" / "run" / name).write_bytes(b"of an interrupted run")
    assert replace(job, overwrite=True).train().trained  # not resumed


def test_labels_that_name_no_video_are_refused(tmp_path: Path) -> None:
    film(tmp_path / "clip_0.mp4")
    (tmp_path / "labels.csv").write_text("video,labels\nclip0,jump\n")
    with pytest.raises(InputError, match="names none of the videos"):
        match_labels(tmp_path / "labels.csv", [str(tmp_path)])


def changed(config: RunConfig, **train_settings: int) -> RunConfig:
    return config.model_copy(update={"train": config.train.model_copy(update=train_settings)})


def test_a_run_folder_starts_fresh_resumes_or_is_finished(tmp_path: Path) -> None:
    features, labels = write_set(tmp_path, make_videos(count=9))
    config, out = preset("default", SMALL), tmp_path / "run"
    assert decide(features, labels, out, config) == "fresh"
    first = train(features, labels, out, config)
    assert first.trained
    assert decide(features, labels, out, config) == decide(features, labels, out, config, resume=True) == "finished"
    assert decide(features, labels, out, config, overwrite=True) == "fresh"
    with pytest.raises(InputError, match=r"other settings \(train\.steps was 4, is 6\)"):
        decide(features, labels, out, changed(config, steps=6))
    rows = labels.read_text().splitlines()
    (tmp_path / "fewer.csv").write_text("\n".join(rows[:-1]) + "\n")
    with pytest.raises(InputError, match="was trained on other data"):
        decide(features, tmp_path / "fewer.csv", out, config)
    (out / "model.safetensors").write_bytes(b"damaged")
    assert decide(features, labels, out, config, resume=True) == "resume"
    (out / RECORD_FILE).unlink()
    with pytest.raises(InputError, match="holds an unfinished run"):
        decide(features, labels, out, config)
    resumed = train(features, labels, out, config, resume=True)
    assert (resumed.trained, resumed.record.classes) == (True, first.record.classes)


def test_localize_folder_needs_videos_only_for_formats_with_frames(tmp_path: Path) -> None:
    features, labels = write_set(tmp_path, make_videos(count=9))
    train(features, labels, tmp_path / "run", preset("default", SMALL))
    assert plan_folder([features]).formats == ("json", "csv")
    with pytest.raises(InputError, match="needs frames"):
        plan_folder([features], "csv,boris")
    film(tmp_path / "videos" / "video_000.mp4")
    plan = plan_folder([features / "video_000.safetensors"], "boris", [str(tmp_path / "videos")])
    assert set(plan.media) == {"video_000"}
    result = localize_folder(tmp_path / "run", [features], tmp_path / "out", overrides={"localize.min_score": 99})
    assert (len(result.videos), result.failures) == (9, ())
    assert not any(video.detections for video in result.videos.values())
    assert find_results(tmp_path / "out").read().options["min_score"] == 99  # run.yaml has the settings used
    (tmp_path / "split.csv").write_text("video,labels,subset\nvideo_003.mp4,,test\nvideo_005,,train\n")
    some = localize_folder(
        tmp_path / "run", [features], tmp_path / "some", subset="test", labels=tmp_path / "split.csv"
    )
    assert list(some.videos) == ["video_003"]
    assert some.notes[1:] == (
        "left out 1 video of other subsets",
        f"left out 7 videos not in {tmp_path / 'split.csv'}: video_000.safetensors, video_001.safetensors, "
        "video_002.safetensors, ...",
    )


def test_tables_are_planned_then_made(tmp_path: Path) -> None:
    write_split_set(tmp_path / "set", count=24, tests=6)
    more = {"model.embed_dim": 16, "train.steps": 6, "train.eval_every": 6, "train.batch_size": 6}
    plan = plan_tables(["table1", "table3"], [f"demo={tmp_path / 'set'}"], tmp_path / "out", 1, more)
    assert (plan.tables, len(plan.all_cells), plan.runs, plan.missing) == (("table1", "table3"), 9, 8, 8)
    one = plan_tables(["table5"], [f"demo={tmp_path / 'set'}"], tmp_path / "out", 1, more)
    made = make_tables(one, tmp_path / "out")
    assert (made.failed, one.missing) == ({}, 0)
    assert [path.name for path in made.files] == ["tables.csv", "tables.md"]
    assert {row for row, _ in made.filled[0].ours} == {"Tian et al. (2018)", "Proposed"}


def test_a_missing_library_of_the_page_is_said_before_the_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    film(tmp_path / "clip.mp4")
    (tmp_path / "labels.csv").write_text("video,labels\nclip,jump\n")
    job = Workflow([str(tmp_path)], tmp_path / "labels.csv", tmp_path / "out", preset("default", SMALL))
    monkeypatch.setattr("avloc.media.previews.find_spec", lambda name: None if name == "PIL" else name)
    with pytest.raises(InputError, match=r"need pillow: pip install 'avloc\[report\]'"):
        job.run()
    assert not (tmp_path / "out").exists()

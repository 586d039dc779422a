"""`avloc run` again in the same folder, with what people change: videos, labels, settings, corrections."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from avloc.config import preset
from avloc.formats.failures import read_failures
from avloc.train.record import read_record
from avloc.workflow import Workflow
from test_cli import film, run

QUICK = {
    "extract.visual": "appearance",
    "extract.audio": "logmel",
    "train.steps": 4,
    "train.eval_every": 2,
    "model.embed_dim": 8,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """A finished job, with a copy of its folder in `kept`."""
    home = tmp_path_factory.mktemp("rerun")
    for k in range(4):
        film(home / "job" / "videos" / f"clip_{k}.mp4", 2.0, seed=k)
    labels = home / "job" / "labels.csv"
    write(labels, clip_0="jump", clip_1="wave", clip_2="jump", clip_3="wave")
    made = Workflow([str(home / "job" / "videos")], labels, home / "job" / "out", preset("auto", QUICK))
    made.run()
    shutil.copytree(home / "job", home / "kept")
    return made


@pytest.fixture
def job(finished: Workflow) -> Workflow:
    """The finished job, restored: it remembers its paths, so it cannot be copied elsewhere."""
    home = finished.out.parent
    shutil.rmtree(home)
    shutil.copytree(home.parent / "kept", home)
    return replace(finished)


def write(path: Path, **labels: str) -> None:
    path.write_text("video,labels\n" + "".join(f"{video},{label}\n" for video, label in labels.items()))


def again(job: Workflow) -> Workflow:
    """The same job in another process: nothing cached."""
    return replace(job)


def times(folder: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in sorted(folder.rglob("*")) if p.is_file() and ".avloc" not in p.name}


def test_an_unchanged_rerun_does_nothing_and_says_so(job: Workflow, capsys: pytest.CaptureFixture[str]) -> None:
    before = times(job.out)
    result = again(job).run()
    assert (result.features.done, result.run.trained, result.detections, result.page) == ((), False, None, None)
    assert times(job.out) == before
    settings = [part for key, value in QUICK.items() for part in ("--set", f"{key}={value}")]
    code, out, _ = run(capsys, "run", *job.videos, "--labels", job.labels, "-o", job.out, *settings)
    assert (code, "nothing has changed since the last run" in out) == (0, True)
    assert times(job.out) == before


def test_one_more_clip_is_extracted_alone_and_trained_with(job: Workflow) -> None:
    features = times(job.out / "features")
    film(Path(job.videos[0]) / "clip_4.mp4", 2.0, seed=9)
    new = again(job)
    assert new.changes() == ["1 video added: clip_4"]
    result = new.run()
    assert result.features.done == ("clip_4",)
    assert not result.run.trained  # it has no label
    assert result.detections is not None
    assert len(result.detections.videos) == 5
    after = times(job.out / "features")
    assert {path for path in features if path.endswith(".safetensors") and after[path] != features[path]} == set()
    write(job.labels, clip_0="jump", clip_1="wave", clip_2="wave", clip_4="jump")
    new = again(job)
    assert new.changes() == [
        "1 label row added: clip_4: jump",
        "1 label row removed: clip_3: wave",
        "1 label row changed: clip_2: jump -> wave",
    ]
    assert new.run().run.trained
    assert again(job).changes() == []


def test_a_removed_clip_is_left_out_and_its_features_come_back_with_it(job: Workflow) -> None:
    (job.labels.parent / "videos" / "clip_3.mp4").rename(job.labels.parent / "clip_3.mp4")
    result = again(job).run()
    assert result.run.trained
    assert result.run.record.train_videos + result.run.record.validation_videos == 3
    assert result.detections is not None
    assert sorted(result.detections.videos) == ["clip_0", "clip_1", "clip_2"]
    assert (job.out / "features-unused" / "clip_3.safetensors").is_file()
    (failure,) = again(job).failures()
    assert failure.video_id == "clip_3"
    assert read_failures(job.out / "failures.csv") == [failure]
    (job.labels.parent / "clip_3.mp4").rename(job.labels.parent / "videos" / "clip_3.mp4")
    result = again(job).run()
    assert (result.features.done, len(result.features.skipped), result.run.trained) == ((), 4, True)
    assert not list((job.out / "features-unused").rglob("*.safetensors"))


def test_a_clip_replaced_by_another_of_its_name_is_extracted_again(job: Workflow) -> None:
    film(job.labels.parent / "videos" / "clip_1.mp4", 4.0, seed=7)
    new = again(job)
    assert new.changes() == ["1 video replaced by another file: clip_1"]
    result = new.run()
    assert (result.features.done, result.run.trained) == (("clip_1",), True)


def test_changed_settings_are_named_and_only_their_steps_redone(job: Workflow) -> None:
    stricter = replace(job, config=preset("auto", {**QUICK, "localize.contrast.nms_sigma": 0.5}))
    assert stricter.changes() == ["settings changed: localize.contrast.nms_sigma was 0.3, is 0.5"]
    result = stricter.run()
    assert not result.run.trained
    assert result.detections is not None
    longer = replace(stricter, config=preset("auto", {**QUICK, "train.steps": 6}))
    assert longer.changes() == [
        "settings changed: localize.contrast.nms_sigma was 0.5, is 0.3; train.steps was 4, is 6"
    ]
    assert longer.run().run.record.config["train"]["steps"] == 6


def test_an_interrupted_training_of_other_data_begins_anew(job: Workflow) -> None:
    write(job.labels, clip_0="jump", clip_1="wave", clip_2="wave", clip_3="wave")
    (job.out / "run" / "record.json").unlink()  # state.pt stays, as after a kill
    assert again(job).run().run.trained


def test_corrections_stay_are_learned_and_appear_on_the_page(job: Workflow) -> None:
    saved = job.out / "detections" / "corrections.json"
    rows = [{"label": "howl", "segment": [0.5, 1.0]}]
    saved.write_text(json.dumps({"database": {"clip_0": {"duration": 2.0, "annotations": rows}}}))
    content = saved.read_bytes()
    result = again(job).run()
    assert result.page is not None
    assert saved.read_bytes() == content
    assert "howl" in (job.out / "page" / "data" / "v0001.js").read_text()
    assert result.run.trained
    record = read_record(job.out / "run")
    assert (len(record.corrections), "howl" in record.classes) == (1, True)
    assert again(job).run().page is None


def test_misspelled_names_and_a_broken_file_give_the_same_exit_code(
    job: Workflow, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [part for key, value in QUICK.items() for part in ("--set", f"{key}={value}")]
    call = ("run", *job.videos, "--labels", job.labels, "-o", job.out, *settings)
    write(job.labels, clip_0="jump", clip_1="wave", clip_2="jump", clop_3="wave", klip_2="jump")
    code, out, _ = run(capsys, *call)
    assert code == 3
    assert "did you mean 'clip_3'?" in out
    assert [f.video_id for f in read_failures(job.out / "failures.csv")] == ["clop_3", "klip_2"]
    write(job.labels, clip_0="jump", clip_1="wave", clip_2="jump", clip_3="wave")
    (job.labels.parent / "videos" / "clip_3.mp4").write_bytes(b"")
    code, out, _ = run(capsys, *call)
    assert code == 3
    assert [f.video_id for f in read_failures(job.out / "failures.csv")] == ["clip_3"]
    code, out, _ = run(capsys, *call)  # nothing changed, and still not whole
    assert (code, "nothing has changed" in out) == (3, True)


@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_a_video_that_was_not_localized_is_tried_again(job: Workflow, how: str) -> None:
    """Its features were deleted or damaged between the steps."""
    first = replace(job, formats="csv")
    features = job.out / "features" / "clip_1.safetensors"
    content = features.read_bytes()
    features.write_bytes(content[:-9]) if how == "damaged" else features.unlink()
    first.localize()
    first.report()
    assert [failure.video_id for failure in first.finish()] == ["clip_1"] * (how == "damaged")
    features.write_bytes(content)
    second = again(first)
    assert not second.is_finished()
    second.localize()
    second.report()
    assert second.finish() == []
    assert second.is_finished()


def test_a_video_that_changed_during_the_run_is_done_again(job: Workflow) -> None:
    video, features = job.out.parent / "videos" / "clip_1.mp4", job.out / "features" / "clip_1.safetensors"
    content, before = video.read_bytes(), features.read_bytes()
    first = replace(job, overwrite=True)
    first.changes()  # the files are known from here
    film(video, 1.0, seed=9)
    first.run()
    assert features.read_bytes() != before
    video.write_bytes(content)
    assert not again(job).is_finished()
    again(job).run()
    assert features.read_bytes() == before
    assert again(job).is_finished()

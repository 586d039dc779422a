"""Files that avloc did not write are neither replaced nor deleted, and nothing is written through a link out of OUT."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import killing
from avloc.config import ExtractConfig, preset
from avloc.datasets.convert import import_collection
from avloc.datasets.open import open_collection
from avloc.datasets.tracks import Clock
from avloc.errors import AvlocError, InputError
from avloc.features import layout
from avloc.features.layout import split_features
from avloc.formats.activations import load_activations
from avloc.formats.annotations import read_annotations
from avloc.formats.features import FeatureStore, load_features, save_features
from avloc.formats.results import find_results
from avloc.formats.retraining import CANCEL_FILE, cancel_asked, clear_cancel
from avloc.interchange.convert import convert as convert_segments
from avloc.interchange.sed_scores import write_sed_scores
from avloc.paper.show import write_tables
from avloc.pipeline.folder import localize_folder
from avloc.report.clips import review
from avloc.report.page.build import build_page
from avloc.report.plots import plot_all
from avloc.report.sources import PageSources, PlotSources
from avloc.system.atomic import atomic_write, make_folder
from avloc.system.locks import folder_lock
from avloc.system.outputs import MANIFEST, claim, discard, output_folder, written_files
from avloc.train.loop import fit
from avloc.workflow.steps import set_aside
from feature_sets import make_videos, write_split_set

SMALL = {"model.embed_dim": 8, "train.steps": 2, "train.eval_every": 2, "train.batch_size": 4}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with a run and detections."""
    home = tmp_path_factory.mktemp("home")
    write_split_set(home, count=6, tests=2)
    fit(home / "features", home / "labels.csv", home / "run", preset("default", SMALL))
    localize(home, home / "detections")
    return home


def localize(home: Path, out: Path, formats: str = "json,csv,srt", videos: str = "video_00[0-2]") -> None:
    localize_folder(home / "run", [str(home / "features" / f"{videos}.safetensors")], out, formats)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_localize_deletes_only_what_it_wrote(home: Path, tmp_path: Path) -> None:
    mine = {
        "scores/embeddings.safetensors": save_as_others,
        "scores/notes.safetensors": lambda p: p.write_text("mine"),
        "per-video/notes.srt": lambda p: p.write_text("mine"),
        "per-video/video_005.txt": lambda p: p.write_text("mine"),
        "notes.txt": lambda p: p.write_text("mine"),
    }
    for name, make in mine.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        make(tmp_path / name)
    before = content(tmp_path)
    localize(home, tmp_path)
    localize(home, tmp_path, formats="csv,vtt", videos="video_000")
    after = content(tmp_path)
    assert {name: after[name] for name in mine} == before
    assert {p.name for p in (tmp_path / "scores").iterdir()} == {
        "video_000.safetensors", "embeddings.safetensors", "notes.safetensors"
    }  # fmt: skip
    assert {p.name for p in (tmp_path / "per-video").iterdir()} == {"video_000.vtt", "notes.srt", "video_005.txt"}
    assert not (tmp_path / "segments.json").exists()
    assert find_results(tmp_path).read().videos() == ("video_000",)


def save_as_others(path: Path) -> None:
    save_file({"probs": np.zeros((2, 2), np.float32)}, path, {"format": "np"})


@pytest.mark.parametrize(
    "name", ["segments.csv", "videos.csv", "run.yaml", "found.xlsx", "failures.csv", "per-video/video_001.srt"]
)
def test_localize_replaces_no_file_of_others(home: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=r"avloc did not write, and it is not replaced; move it away, or choose"):
        localize(home, tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_a_score_file_of_others_costs_its_video_only(home: Path, tmp_path: Path) -> None:
    (tmp_path / "scores").mkdir()
    save_as_others(mine := tmp_path / "scores" / "video_001.safetensors")
    before = mine.read_bytes()
    localize(home, tmp_path)
    assert mine.read_bytes() == before
    assert "video_001" in (tmp_path / "failures.csv").read_text()
    assert set(find_results(tmp_path).read().paths) | {"video_000", "video_002"} == {"video_000", "video_002"}


def localize_into(home: Path, out: Path) -> None:
    localize(home, out)


def page_into(home: Path, out: Path) -> None:
    build_page(PageSources(home / "detections"), out)


def convert_into(home: Path, out: Path) -> None:
    import_collection(open_collection(home / "raw", clock=Clock(Fraction(1))), out)


def plot_into(home: Path, out: Path) -> None:
    plot_all(PlotSources(home / "detections"), out, ["png"], limit=1)


def train_into(home: Path, out: Path) -> None:
    fit(home / "features", home / "labels.csv", out, preset("default", SMALL))


def tables_into(home: Path, out: Path) -> None:
    write_tables([], out)


def sed_into(home: Path, out: Path) -> None:
    scores = [load_activations(p) for p in sorted((home / "detections" / "scores").glob("*.safetensors"))]
    truth, _ = read_annotations(home / "ground_truth.json")
    write_sed_scores(out, scores, [t for t in truth if t.video_id < "video_003"])


def segments_into(home: Path, out: Path) -> None:
    convert_segments(home / "detections" / "segments.csv", out / "per", "srt")


def extract_into(home: Path, out: Path) -> None:
    with folder_lock(out):
        layout.save(out, load_features(home / "features" / "video_000.safetensors"), "npy", "float32")


@pytest.fixture(scope="module", autouse=True)
def raw(home: Path) -> None:
    (home / "raw").mkdir()
    for k in range(2):
        np.save(home / "raw" / f"v{k}.npy", np.ones((10 + k, 6), np.float32))


Into = Callable[[Path, Path], None]


@pytest.mark.parametrize(
    ("into", "name"),
    [
        (localize_into, "scores"),
        (localize_into, "per-video"),
        (page_into, "assets"),
        (page_into, "data"),
        (page_into, "thumbs"),
        (page_into, "media"),
        (convert_into, "features"),
        (plot_into, "timelines"),
        (train_into, "tensorboard"),
        (sed_into, "scores"),
    ],
)
def test_a_link_out_of_the_folder_is_refused(home: Path, tmp_path: Path, into: Into, name: str) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    out.mkdir()
    outside.mkdir()
    for file in ("video_000.safetensors", "x.safetensors", "core.js", "index.js", "v0001.js", "v0001.jpg", "a.srt"):
        (outside / file).write_text("mine")
    (out / name).symlink_to(outside)
    before = content(outside)
    with pytest.raises(InputError, match=r"a link leads out of .*; remove the link, or choose another -o"):
        into(home, out)
    assert content(outside) == before


@pytest.mark.parametrize(
    ("into", "name"),
    [
        (page_into, "index.html"),
        (page_into, "data/v0001.js"),
        (convert_into, "features/v0.safetensors"),
        (plot_into, "training.png"),
        (train_into, "model.safetensors"),
        (train_into, "config.yaml"),
        (train_into, "state.pt"),
        (tables_into, "tables.csv"),
        (sed_into, "ground_truth.tsv"),
        (sed_into, "scores/video_000.tsv"),
        (extract_into, "video_000.json"),
        (extract_into, "video_000_made.npy"),
        (segments_into, "per/video_000.srt"),
    ],
)
def test_no_command_replaces_a_file_of_others(home: Path, tmp_path: Path, into: Into, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    if into is convert_into:  # loses that video only
        into(home, tmp_path)
        assert "did not write" in (tmp_path / "failures.csv").read_text()
    else:
        with pytest.raises(AvlocError, match=re.escape(name.rpartition("/")[2])):
            into(home, tmp_path)
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("into", [localize_into, page_into, convert_into, plot_into, train_into, tables_into, sed_into])
def test_a_command_replaces_its_own_files(home: Path, tmp_path: Path, into: Into) -> None:
    into(home, tmp_path)
    names = {name for name in content(tmp_path) if "tfevents" not in name}
    into(home, tmp_path)
    assert {name for name in content(tmp_path) if "tfevents" not in name} == names


def test_folders_of_earlier_versions_are_used_again(home: Path, tmp_path: Path) -> None:
    localize(home, tmp_path)
    (tmp_path / MANIFEST).unlink()
    localize(home, tmp_path)
    localize(home, tmp_path, formats="csv")


def test_stale_features_of_others_stay(home: Path, tmp_path: Path) -> None:
    features, unused = tmp_path / "features", tmp_path / "unused"
    save_features(features / "old.safetensors", load_features(home / "features" / "video_000.safetensors"))
    save_as_others(features / "mine.safetensors")
    set_aside(features, unused, {}, {})
    assert [p.name for p in features.iterdir()] == ["mine.safetensors"]
    assert [p.name for p in unused.iterdir()] == ["old.safetensors"]


def test_overwrite_is_for_what_avloc_wrote(home: Path, tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    save_as_others(mine := tmp_path / "features" / "v0.safetensors")
    before = mine.read_bytes()
    done = import_collection(open_collection(home / "raw", clock=Clock(Fraction(1))), tmp_path, overwrite=True)
    assert [(f.video_id, "did not write" in f.reason) for f in done.failures] == [("v0", True)]
    assert mine.read_bytes() == before


def test_answers_to_a_review_are_kept(tmp_path: Path) -> None:
    table = "clip,video,start_s,end_s,label,score,clip_start_s,clip_end_s,correct\n0001,v,0,1,a,0.5,0,1,{}\n"
    detections = tmp_path / "segments.csv"
    detections.write_text("video,start_s,end_s,label,score\nv,0,1,a,0.5\n")
    run = find_results(detections).read()
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "clips.csv").write_text(table.format("yes"))
    with pytest.raises(InputError, match="has answers in the column 'correct'"):
        review(run, {"v": tmp_path / "v.mp4"}, tmp_path / "clips")
    assert "yes" in (tmp_path / "clips" / "clips.csv").read_text()


def test_what_an_output_folder_is(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    with output_folder(link):  # the folder itself may be a link: the user named it
        atomic_write(link / "a.txt", "x")
    with output_folder(out):
        atomic_write(out / "deep" / "a.txt", "x")
        atomic_write(tmp_path / "named.txt", "x")  # outside: a file that was named
        (out / "mine.txt").write_text("mine")
        assert not discard(out / "mine.txt")
        assert [p.name for p in written_files(out)] == ["a.txt"]
        assert discard(out / "deep" / "a.txt")
        assert written_files(out) == []
        (out / "round").symlink_to(out / "round")
        with pytest.raises(InputError, match="in a circle"):
            claim(out / "round" / "x.txt")
    atomic_write(out / "mine.txt", "not in an output folder")


def test_a_manifest_of_strangers_reaches_nothing_outside(tmp_path: Path) -> None:
    (tmp_path / "victim.txt").write_text("mine")
    (tmp_path / "out").mkdir()
    lines = ["../victim.txt", str(tmp_path / "victim.txt"), 7, None, "a\0b", "x" * 5000]
    (tmp_path / "out" / MANIFEST).write_text("".join(json.dumps(line) + "\n" for line in lines) + "{{{\n[[")
    with output_folder(tmp_path / "out"):
        assert written_files(tmp_path / "out") == []
    assert (tmp_path / "victim.txt").read_text() == "mine"


@pytest.mark.parametrize("name", [".avloc.lock", MANIFEST])
def test_links_in_place_of_our_own_hidden_files_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "victim.txt").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).symlink_to(tmp_path / "victim.txt")
    with pytest.raises(InputError), folder_lock(tmp_path / "out"):
        atomic_write(tmp_path / "out" / "a.txt", "x")
    assert (tmp_path / "victim.txt").read_text() == "mine"


def test_folders_are_not_made_through_links(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "part").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="a link leads out"), folder_lock(tmp_path / "out"):
        make_folder(tmp_path / "out" / "part")
    with pytest.raises(InputError), folder_lock(tmp_path / "out"), folder_lock(tmp_path / "out" / "part"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def _write_many(out: Path) -> None:
    with folder_lock(out):
        for k in range(5):
            atomic_write(out / f"{k}.txt", "x")


def test_a_killed_process_can_be_run_again(tmp_path: Path) -> None:
    """A file is listed before it is there: what a killed process wrote is known to be avloc's."""
    for kill_at in range(1, 40, 3):
        out = tmp_path / str(kill_at)
        out.mkdir()
        code = killing.run(_write_many, out, kill_at=kill_at)
        assert killing.run(_write_many, out) == 0
        assert len([p for p in out.iterdir() if p.suffix == ".txt"]) == 5
        if code == 0:
            break
    else:
        pytest.fail("never ran to its end")


def test_extraction_into_the_folder_of_others(tmp_path: Path) -> None:
    """A video's name that is taken by a file of others is that video's failure."""
    from avloc.features.folder import extract_all
    from avloc.media.encode import write_video

    (tmp_path / "v").mkdir()
    frames = np.zeros((10, 32, 48, 3), np.uint8)
    for name in ("a", "b"):
        write_video(tmp_path / "v" / f"{name}.mp4", frames, 10)
    out = tmp_path / "out"
    out.mkdir()
    save_as_others(mine := out / "a.safetensors")
    before = mine.read_bytes()
    options = ExtractConfig(visual="appearance", audio="logmel")
    for overwrite in (False, True):
        summary = extract_all([tmp_path / "v" / "a.mp4", tmp_path / "v" / "b.mp4"], out, options, overwrite=overwrite)
        assert [f.video_id for f in summary.failures] == ["a"]
        assert "did not write" in summary.failures[0].reason
        assert mine.read_bytes() == before
    assert os.listdir(out).count("b.safetensors") == 1


def test_a_refused_command_is_refused_again(home: Path, tmp_path: Path) -> None:
    (tmp_path / "segments.csv").write_text("mine")
    (tmp_path / "run.yaml").write_text("mine")
    for _ in range(3):
        with pytest.raises(InputError, match="avloc did not write"):
            localize(home, tmp_path)
    assert (tmp_path / "segments.csv").read_text() == (tmp_path / "run.yaml").read_text() == "mine"


def test_a_lock_alone_makes_no_file_avlocs(home: Path, tmp_path: Path) -> None:
    """An earlier version that refused to work in a folder of others left its lock there."""
    (tmp_path / ".avloc.lock").touch()
    for name in ("segments.csv", "notes.txt"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=r"segments\.csv: there is a file that avloc did not write"):
        localize(home, tmp_path)
    assert (tmp_path / "segments.csv").read_text() == "mine"


def test_folders_of_folders_of_earlier_versions_are_used_again(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "record.json").write_text('{"avloc": "0.1.0"}')
    (tmp_path / "page.html").write_text("of avloc")
    with pytest.raises(InputError), output_folder(tmp_path):
        claim(tmp_path / "page.html")
    (tmp_path / MANIFEST).unlink(missing_ok=True)
    (tmp_path / ".avloc.lock").touch()
    with output_folder(tmp_path):
        claim(tmp_path / "page.html")


def test_a_file_of_others_named_cancel_cancels_nothing_and_stays(tmp_path: Path) -> None:
    (tmp_path / CANCEL_FILE).write_text("mine")
    assert not cancel_asked(tmp_path)
    clear_cancel(tmp_path)
    assert (tmp_path / CANCEL_FILE).read_text() == "mine"
    (tmp_path / CANCEL_FILE).write_text("")
    assert cancel_asked(tmp_path)
    clear_cancel(tmp_path)
    assert not (tmp_path / CANCEL_FILE).exists()


def test_the_list_of_files_is_sorted_though_a_killed_process_left_it_as_written(tmp_path: Path) -> None:
    with folder_lock(tmp_path):
        for name in ("b.txt", "a.txt"):
            atomic_write(tmp_path / name, "x")
    whole = (tmp_path / MANIFEST).read_bytes()
    (tmp_path / MANIFEST).write_bytes(b'"b.txt"\n"a.txt"\n')
    with folder_lock(tmp_path):
        written_files(tmp_path)
        for name in ("b.txt", "a.txt"):
            atomic_write(tmp_path / name, "x")
    assert (tmp_path / MANIFEST).read_bytes() == whole


def test_a_line_of_the_list_that_was_cut_off_costs_no_other_name(tmp_path: Path) -> None:
    """A full disk leaves half a line, and the next process may be killed before it writes the list anew."""
    (tmp_path / MANIFEST).write_bytes(b'"a.txt"\n"b.t')
    with output_folder(tmp_path, shared=True):
        claim(tmp_path / "c.txt", tmp_path / "d.txt")
    assert (tmp_path / MANIFEST).read_bytes() == b'"a.txt"\n"b.t\n"c.txt"\n"d.txt"\n'
    with output_folder(tmp_path):
        (tmp_path / "c.txt").write_text("x")
        claim(tmp_path / "c.txt")


def test_scores_in_a_folder_of_features_are_no_features(tmp_path: Path) -> None:
    """After `avloc localize RUN out -o out`."""
    folder = tmp_path / "out"
    (folder / "scores").mkdir(parents=True)
    for path in (folder / "v.safetensors", folder / "scores" / "w.safetensors"):
        save_features(path, make_videos(count=1)[0][0])
    head = b'{"__metadata__":{"avloc_activations":"1"}}'.ljust(64)
    (folder / "scores" / "v.safetensors").write_bytes(len(head).to_bytes(8, "little") + head)
    assert FeatureStore(folder).ids == ("scores/w", "v")
    assert split_features([folder]) == ([folder / "scores" / "w.safetensors", folder / "v.safetensors"], [])

"""Wrong arguments of the whole public interface: one line at once, before anything is written."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

import avloc
from avloc.config import preset, setting_names
from avloc.config.arguments import Count, checked, expected
from avloc.errors import ConfigError, InputError
from avloc.media.encode import write_video
from feature_sets import make_videos, write_set

SETTINGS = {"model.embed_dim": 8, "train.steps": 2, "train.eval_every": 2, "train.batch_size": 4}

CALLS = {  # call: words of the answer
    # load
    'avloc.load("")': "run: expected a path, got ''",
    'avloc.load(".")': "expected a run folder",
    "avloc.load(3)": "run: expected a path, got 3",
    'avloc.load("a\\0b")': "run: expected a path",
    'avloc.load("nowhere")': "nowhere: expected a run folder, a published model",
    'avloc.load("run", devise="cpu")': "load has no argument 'devise'. Did you mean 'device'?",
    'avloc.load("run", device=3)': "device: expected text, got 3",
    'avloc.load("run", device="gpu")': "device: expected auto, cpu, cuda, cuda:N or mps, got 'gpu'",
    'avloc.load("run", streams=3)': "streams: expected StreamChoice, got 3",
    'avloc.load("run", streams=StreamChoice(audio="x"))': "streams.audio: expected a whole number of at least 1",
    'avloc.load("run", streams=StreamChoice(video=0))': "streams.video: expected a whole number of at least 1",
    'avloc.load("run", checksum="no")': "checksum: expected True or False",
    'avloc.load("run", allow_download=1)': "allow_download: expected True or False, got 1",
    # Localizer
    "avloc.Localizer(model, card, device=3)": "device: expected text",
    'avloc.Localizer.from_pretrained("run", revisio="x")': "Did you mean 'revision'?",
    'avloc.Localizer.from_pretrained("run", tokken="x")': "Did you mean 'token'?",
    "avloc.Localizer.from_pretrained(3)": "expected a path, got 3",
    "localizer.localize(3)": "video: expected a path or FeatureSequence, got 3",
    'localizer.localize("")': "video: expected a path or FeatureSequence, got ''",
    "localizer.localize(video, min_score=2)": "scores of localize.decode=contrast are probabilities, expected",
    'localizer.localize(video, min_score="a")': "min_score: expected a number or None, got 'a'",
    'localizer.localize(video, min_score=float("nan"))': "min_score: expected a number or None, got nan",
    "localizer.localize(video, min_score=True)": "min_score: expected a number or None, got True",
    "localizer.localize(video, min_scor=0.1)": "Localizer.localize has no argument 'min_scor'. Did you mean",
    "localizer.localize(video, min_snippet=3)": "'localize.min_snippet'. Did you mean 'localize.min_snippets'",
    'localizer.localize(video, decode="contrst")': "localize.decode: expected 'actions' or 'events' or 'contrast', got "
    "'contrst'. Did you mean 'contrast'?",
    "localizer.localize(video, min_snippets=0)": "localize.min_snippets: expected a whole number from 1 to 1000000",
    'localizer.localize(video, contrast={"min_classes": "x"})': "contrast.min_classes: expected a whole number",
    "localizer.localize_many(features, progress=3)": "progress: expected a function or None, got 3",
    "localizer.localize_many(features, workers=0)": "workers: expected a whole number of at least 1, got 0",
    "localizer.localize_many(features, workers=1.5)": "workers: expected a whole number of at least 1, got 1.5",
    'localizer.localize_many(features, in_order="yes")': "in_order: expected True or False",
    "localizer.localize_many(features, worker=2)": "no argument 'worker'. Did you mean 'workers'?",
    "localizer.localize_many([])": "no video in an empty list",
    'localizer.localize_many("")': "videos: expected a list of paths or a path, got ''",
    'localizer.localize_many({"a": 1})': "videos: expected a list of paths or a path, got {'a': 1}",
    "localizer.suggest([features], count=0)": "count: expected a whole number of at least 1, got 0",
    "localizer.suggest(3)": "inputs: expected a list of paths or a path, got 3",
    "localizer.suggest([features], corrections=3)": "corrections: expected a list of paths or a path, got 3",
    "localizer.export(3)": "path: expected a path, got 3",
    'localizer.export("a.pt2", "pt3")': "--to takes pt2 or onnx, got 'pt3'. Did you mean 'pt2'",
    "localizer.save_pretrained(3)": "folder: expected a path, got 3",
    'localizer.save_pretrained("m", about=3)': "about: expected About, got 3",
    'localizer.save_pretrained("m", overwrite=3)': "overwrite: expected True or False, got 3",
    "localizer.push_to_hub(3)": "repo_id: expected text, got 3",
    'localizer.push_to_hub("jane/x", privat=True)': "Did you mean 'private'?",
    'localizer.push_to_hub("jane/x", private="yes")': "private: expected True or False or None, got 'yes'",
    "localizer.features(3)": "path: expected a path, got 3",
    "localizer.can_use(3)": "features: expected FeatureSequence, got 3",
    # train
    'avloc.train(features, labels, "new", on_metrics=3)': "on_metrics: expected a function or None, got 3",
    'avloc.train(features, labels, "new", progress=3)': "progress: expected a function or None, got 3",
    'avloc.train(features, labels, "new", say="x")': "say: expected a function or None, got 'x'",
    'avloc.train(features, labels, "new", resume="x")': "resume: expected True or False",
    'avloc.train(features, labels, "new", corrections=3)': "corrections: expected a list of paths or a path, got 3",
    'avloc.train(features, labels, "new", setings={})': "no argument 'setings'. Did you mean 'settings'?",
    'avloc.train(features, labels, "new", overwrit=True)': "'overwrit'. Did you mean 'overwrite'?",
    'avloc.train(features, labels, "new", settings={"model.num_stages": 100})': "model.num_stages: expected a whole "
    "number from 0 to 64, got 100",
    'avloc.train(features, labels, "new", settings={"model.head": "openmax"})': "Did you mean 'open-max'?",
    'avloc.train(features, labels, "new", settings={"loss.neighbors": 3})': "from 0 to 1000, a multiple of 2, got 3",
    'avloc.train(features, labels, "new", settings={"train.learning_rate": -1})': "expected a number of more than 0 "
    "and at most 100, got -1",
    'avloc.train(features, labels, "new", settings={"train.snippets": "x"})': "from 1 to 1000000 or null, got 'x'",
    'avloc.train(features, labels, "new", settings={3: 2})': "settings: expected a dict with texts as keys or None",
    'avloc.train(features, labels, "new", config="defualt")': "no preset 'defualt'. Did you mean 'default'?",
    'avloc.train(features, labels, "new", config="")': "config: expected RunConfig or a path, got ''",
    'avloc.train(features, labels, "")': "out: expected a path, got ''",
    # extract
    'avloc.extract(3, "out")': "videos: expected a list of paths or a path, got 3",
    'avloc.extract([""], "out")': "videos: expected a list of paths or a path, got ['']",
    'avloc.extract("clip.mp4", "")': "out: expected a path, got ''",
    'avloc.extract("clip.mp4", "out", workers=0)': "workers: expected a whole number of at least 1, got 0",
    'avloc.extract("clip.mp4", "out", overwrite="x")': "overwrite: expected True or False",
    'avloc.extract("clip.mp4", "out", progress=3)': "progress: expected a function or None, got 3",
    'avloc.extract("clip.mp4", "out", layout="np")': "layout: expected 'safetensors' or 'npy', got 'np'. Did you mean",
    'avloc.extract("clip.mp4", "out", shard="1/2")': "shard: expected (a whole number, a whole number) or None",
    'avloc.extract("clip.mp4", "out", shard=(0, 0))': "the part must be 1 to 0",
    'avloc.extract("clip.mp4", "out", limits=3)': "limits: expected Limits or None, got 3",
    'avloc.extract("clip.mp4", "out", visul=None)': "'extract.visul'. Did you mean 'extract.visual'",
    'avloc.extract("clip.mp4", "out", step_s=0)': "extract.step_s: expected a number from 0.001 to 3600, got 0",
    # tag, zero_shot
    "avloc.tag(3)": "videos: expected a list of paths or a path, got 3",
    'avloc.tag("clip.mp4", "dog")': "words: expected a list of texts or None, got 'dog'",
    'avloc.tag("clip.mp4", [3])': "words: expected a list of texts or None, got [3]",
    'avloc.tag("clip.mp4", (word for word in [3]))': "words: expected a list of texts, got [3]",
    'avloc.tag("clip.mp4", ["dog"], min_score=2)': "a draft is a probability above 0 and at most 1, got 2",
    'avloc.tag("clip.mp4", ["dog"], most=0)': "most: expected a whole number of at least 1, got 0",
    'avloc.tag("clip.mp4", ["dog"], progress=0)': "progress: expected a function or None, got 0",
    'avloc.tag("clip.mp4", ["dog"], features=3)': "features: expected a path or None, got 3",
    'avloc.tag("clip.mp4", ["dog"], weights=3)': "weights: expected a dict with texts as keys or None, got 3",
    'avloc.tag("clip.mp4", ["dog"], minscore=3)': "tag has no argument 'minscore'. Did you mean 'min_score'?",
    "avloc.zero_shot([3])": "prompts: expected text or a list of texts, got [3]",
    'avloc.zero_shot(["dog"], overrides=3)': "overrides: expected a dict with texts as keys or None, got 3",
    'avloc.zero_shot(["dog"], {"zero_shot.slope": -3})': "zero_shot.slope: expected a number of more than 0, got -3",
    'avloc.zero_shot(["dog"], device=3)': "device: expected text, got 3",
    'avloc.zero_shot(["dog"], devise="cpu")': "Did you mean 'device'?",
    # Localization, About
    'result.select("x")': "min_score: expected a number or None, got 'x'",
    'result.select(float("nan"))': "min_score: expected a number or None, got nan",
    'result.select(classes="bark")': "classes: expected a list of texts or None, got 'bark'",
    "result.select(classes=[3])": "classes: expected a list of texts or None, got [3]",
    "result.to_dataframe(min_scor=3)": "Localization.to_dataframe has no argument 'min_scor'",
    "result.to_dataframe(classes=(name for name in [3]))": "the model has no class 3",
    "result.save(3)": "path: expected a path, got 3",
    'result.save("x.vtt", min_score="x")': "min_score: expected a number or None, got 'x'",
    "result.plot(3)": "path: expected a path or None, got 3",
    "result.clip(3)": "folder: expected a path, got 3",
    'result.clip("clips", margin_s=-1)': "margin_s: expected a number of at least 0, got -1",
    'result.clip("clips", cut="copi")': "cut: expected 'encode' or 'copy', got 'copi'. Did you mean 'copy'?",
    "avloc.About(title=3)": "title: expected text or None, got 3",
    "avloc.About(scores=3)": "scores: expected a dict with texts as keys, got 3",
    'avloc.About(licens="mit")': "About has no argument 'licens'. Did you mean 'licence'?",
}

RUN = """
import sys
from pathlib import Path
import avloc
from avloc.mediafile import StreamChoice
features, labels = Path("features"), Path("labels.csv")
localizer = avloc.load("run", device="cpu")
model, card, video = localizer.model, localizer.card, features / "video_001.safetensors"
result = localizer.localize(video)
for call in sys.stdin.read().splitlines():
    try:
        print("no error:", eval(call))
    except avloc.AvlocError as error:
        print(type(error).__name__, error)
    except BaseException as error:
        print("not ours:", type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """{call: its answer}, from a process without the shape checks of the tests, which would answer first."""
    home = tmp_path_factory.mktemp("arguments")
    features, labels = write_set(home, make_videos(count=6))
    avloc.train(features, labels, home / "run", "default", SETTINGS)
    write_video(home / "clip.mp4", iter(np.zeros((8, 32, 32, 3), np.uint8)), 4)
    before = sorted(path.name for path in home.iterdir())
    done = subprocess.run(
        [sys.executable, "-c", RUN], input="\n".join(CALLS), capture_output=True, text=True, check=True, cwd=home
    )
    assert sorted(path.name for path in home.iterdir()) == before  # nothing was begun
    return dict(zip(CALLS, done.stdout.splitlines(), strict=True))


@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_argument_is_one_line(answers: dict[str, str], call: str) -> None:
    assert answers[call].startswith(("InputError ", "ConfigError "))
    assert CALLS[call] in answers[call]


def test_every_argument_of_the_interface_is_checked() -> None:
    """Public functions and methods with arguments go through `checked`, which shows in their answer to a wrong name."""
    takes_any = {"train": avloc.train}
    named = {name: getattr(avloc, name) for name in ("extract", "load", "tag", "zero_shot", "About")} | takes_any
    methods = [getattr(kind, name) for kind in (avloc.Localizer, avloc.Localization) for name in vars(kind)]
    public = [each for each in methods if callable(each) and not each.__name__.startswith("_")]
    own = [each for each in public if each.__code__.co_argcount > 1 or hasattr(each, "__wrapped__")]
    unchecked = {"nothing", "activations", "batch"}  # take arrays, not what a caller types
    assert {each.__name__ for each in own if not hasattr(each, "__wrapped__")} <= unchecked
    for call in named.values():
        with pytest.raises((ConfigError, InputError, TypeError)):
            call("x", "y", "z", qqq=3)


def test_numbers_of_numpy_and_iterators_are_taken() -> None:
    @checked()
    def call(number: float, count: Count = 1, names: tuple[str, ...] | None = None) -> str:
        return f"{number:g} {count}"

    assert call(np.float32(0.5), np.int64(2)) == "0.5 2"  # type: ignore[arg-type]
    with pytest.raises(InputError, match="count: expected a whole number of at least 1, got 0"):
        call(1, 0)
    with pytest.raises(TypeError, match="missing a required argument: 'number'"):
        call()  # type: ignore[call-arg]


def test_types_in_words() -> None:
    assert expected(int | None) == "a whole number or None"
    assert expected(str | Path) == "a path"
    assert expected(list[str | Path] | str | Path) == "a list of paths or a path"
    assert expected(Callable[[int], None] | None) == "a function or None"
    assert expected(Literal["a", "b"]) == "'a' or 'b'"
    assert expected(Mapping[str, int]) == "a dict with texts as keys"
    assert expected(tuple[int, int]) == "(a whole number, a whole number)"


def test_no_setting_is_answered_in_the_words_of_pydantic() -> None:
    """Every setting of a run, with a value that none takes."""
    for section in ("extract", "model", "loss", "train", "localize"):
        for name in setting_names(section):
            with pytest.raises(ConfigError) as caught:
                preset("default", {f"{section}.{name}": [[]]})
            assert "Input should" not in str(caught.value), name
            assert f"{section}.{name}" in str(caught.value)

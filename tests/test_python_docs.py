"""docs/python.md: its snippets run in order, on small videos; and the notebook runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avloc.config import ExtractConfig
from avloc.errors import AvlocError
from avloc.features.task import extract_one
from avloc.formats.features import save_features
from avloc.media.encode import write_video

DOCS = Path(__file__).parent.parent / "docs"
RATE = 16_000


def make_video(path: Path, kind: str, seed: int) -> None:
    """Four seconds of grey; in the middle two, for a dog, a bright square and a tone; for rain, stripes and noise."""
    rng = np.random.default_rng(seed)
    frames = np.full((32, 48, 64, 3), 90, np.uint8) + rng.integers(0, 9, (32, 48, 64, 3), np.uint8)
    sound = 0.01 * rng.normal(size=4 * RATE)
    times = np.arange(2 * RATE) / RATE
    if kind == "dog":
        frames[8:24, 12:36, 20:44] = 240
        sound[RATE : 3 * RATE] += 0.5 * np.sin(2 * np.pi * 500 * times)
    else:
        frames[8:24, :, ::4] = 20
        sound[RATE : 3 * RATE] += 0.2 * rng.normal(size=2 * RATE)
    write_video(path, iter(frames), 8, sound.astype(np.float32))


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """videos/ and labels.csv, and features/ made by quick backbones: `avloc.extract` finds them finished."""
    options = ExtractConfig(visual="appearance", audio="logmel", device="cpu")
    names = [f"{kind}_{k}" for kind in ("dog", "rain") for k in range(4)]
    for seed, name in enumerate(names):
        path = tmp_path / "videos" / f"{name}.mp4"
        make_video(path, name.partition("_")[0], seed)
        save_features(tmp_path / "features" / f"{name}.safetensors", extract_one(path, options))
    rows = [f"{name},{name.partition('_')[0]}" for name in names]
    (tmp_path / "labels.csv").write_text("\n".join(["video,labels", *rows, ""]), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_snippet_of_the_page_runs(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    snippets = re.findall(r"^```python\n(.*?)^```", (DOCS / "python.md").read_text(encoding="utf-8"), re.M | re.S)
    assert len(snippets) > 8
    known: dict[str, Any] = {}
    names = sorted(path.stem for path in (work / "videos").iterdir())
    for number, snippet in enumerate(snippets, start=1):
        if "dog_*" in snippet:
            (work / "videos" / "dog_9.mp4").write_bytes(b"broken")
        exec(compile(snippet, f"python.md, snippet {number}", "exec"), known)
    assert known["summary"].skipped == tuple(names)
    assert known["result"].detections
    assert (work / "dog_0.vtt").is_file()
    assert (work / "dog_0.png").is_file()
    assert len(known["clips"]) == sum(d.label == "dog" for d in known["result"].detections)
    assert len(known["tables"]) == 4
    assert {"video", "start_s", "end_s", "label", "score"} == set(known["everything"].columns)
    assert (known["rows"][0][0], known["rows"][-1][0]) == (1, 10)
    ours = known["localizer"].activations(known["features"]).probs
    np.testing.assert_allclose(known["probs"][0].detach().numpy(), ours, atol=1e-5)
    printed = capsys.readouterr().out.strip().splitlines()
    assert sum(line.startswith("failed: videos/dog_9.mp4 ") for line in printed) == 1
    answers = printed[-5:]
    expected = ("dog_0.mp4", "min_score", "train.steps", "'dog'", "cuda:99")
    assert all(word in answer for word, answer in zip(expected, answers, strict=True)), answers
    assert "AvlocError" in known["avloc"].__all__
    assert issubclass(known["avloc"].AvlocError, AvlocError)


@pytest.mark.slow
def test_the_notebook_runs_and_shows_the_timeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(DOCS / "quickstart.ipynb", 4)
    monkeypatch.setenv("PYTHONPATH", str(DOCS.parent / "src"))
    client = nbclient.NotebookClient(
        notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    shown = [each["data"] for cell in notebook.cells for each in cell.get("outputs", ()) if "data" in each]
    assert any("<svg" in data.get("text/html", "") for data in shown)
    assert any("image/png" in data for data in shown)


def test_the_notebook_holds_its_pictures_and_no_path_of_a_machine() -> None:
    text = (DOCS / "quickstart.ipynb").read_text(encoding="utf-8")
    assert "<svg" in text
    assert '"image/png"' in text
    assert '"output_type": "error"' not in text
    assert not re.search(r"/(tmp|home|root|work)/", text)

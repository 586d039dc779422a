"""Backbones from other packages: the example of docs/backbones.md, and broken packages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import odd_media as odd
from avloc.errors import InputError
from avloc.features.backbones import all_backbones, load_backbone
from avloc.formats.features import load_features

PAGE = Path(__file__).parent.parent / "docs" / "backbones.md"


def install(folder: Path, module: str, code: str, entry: str) -> None:
    """Write the files that `pip install` of a one-file package writes."""
    (folder / f"{module}.py").write_text(code, encoding="utf-8")
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[avloc.backbones]\n{entry}\n")


def search_path(site: Path) -> str:
    """PYTHONPATH for a subprocess: the packages in `site`, then this process's own path."""
    return os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))


def test_the_pages_example_works(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    entry = re.search(r'\[project\.entry-points\."avloc\.backbones"\]\n(\w+) = "([\w:]+)"', page)
    assert code is not None
    assert entry is not None
    assert len(code[1].splitlines()) <= 30
    site = tmp_path / "site"
    site.mkdir()
    install(site, "loudness", code[1], f"{entry[1]} = {entry[2]}")
    sound = odd.clicks(2, 16000, [1.5])
    path = odd.write_video(tmp_path / "a.mkv", odd.grey_frames(20), sound=sound)
    environment = os.environ | {"PYTHONPATH": search_path(site)}
    listed = _avloc(["backbones"], environment)
    assert re.search(r"loudness\s+│\s+audio\s+│\s+2\s+│\s+MIT\s+│\s+needs none", listed)
    _avloc(["extract", str(path), "-o", str(tmp_path / "out"), "--audio", "loudness", "--workers", "2"], environment)
    features = load_features(tmp_path / "out" / "a.safetensors")
    assert features.source.backbones["audio"] == "loudness"
    assert features.audio is not None
    np.testing.assert_allclose(features.audio[:, 0], [0, 0.8], atol=0.01)


def _avloc(arguments: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run([sys.executable, "-m", "avloc", *arguments], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("code", "entry", "message"),
    [
        ("import nowhere", "odd = {m}:Odd", "does not import: ModuleNotFoundError"),
        ("class Odd: name = 'even'", "odd = {m}:Odd", "backbone 'odd': its `name` is 'even'"),
        ("class Odd: name, modality = 'odd', 'audio'", "odd = {m}:Odd", "does not implement the protocol"),
        ("class Odd: name, modality = 'odd', 'smell'", "odd = {m}:Odd", "does not implement the protocol"),
        ("class Odd: normalize = 'loud'", "odd = {m}:Odd", "normalize should be one of none, l2, scale, standard"),
        ("", "logmel = {m}:Odd", "'logmel' has the name of another backbone"),
    ],
)
def test_broken_packages_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, entry: str, message: str
) -> None:
    module = f"broken_{abs(hash((code, entry)))}"
    install(tmp_path, module, code, entry.format(m=module))
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=message):
        load_backbone("odd")
    if "logmel" not in entry:
        assert "odd" in all_backbones()  # listed, and the other backbones still load
        assert load_backbone("logmel").name == "logmel"

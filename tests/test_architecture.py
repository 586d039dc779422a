"""Who may import whom: the floors of docs/architecture.md, checked on the source (lazy and type-only imports too)."""

from __future__ import annotations

import ast
import importlib
import resource
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "avloc"

FLOORS: tuple[frozenset[str], ...] = tuple(
    frozenset(rooms.split())
    for rooms in (
        "types mediafile errors version vocabulary",
        "presets config system metrics",
        "media formats model localize figures",
        "features datasets interchange extraction",
        "tagging",
        "train pipeline evaluate",
        "report paper demo",
        "workflow",
        "cli",
        "root __main__",
    )
)
"""From the ground up: a room imports only from floors below its own, never from its neighbours."""

EXCEPTIONS = {("config", "presets"): "a configuration starts from a named preset"}
"""(room, imported room): why."""


def allowed(name: str) -> set[str]:
    floor = next(k for k, rooms in enumerate(FLOORS) if name in rooms)
    below = set().union(*FLOORS[:floor])
    return below | {there for here, there in EXCEPTIONS if here == name}


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "root"


def imports_of(path: Path) -> set[str]:
    """Rooms of avloc that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {room(alias.name) for alias in node.names if alias.name.split(".")[0] == "avloc"}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the whole name"
            if node.module == "avloc":
                found |= {alias.name if is_room(alias.name) else "root" for alias in node.names}
            elif node.module and node.module.startswith("avloc."):
                found.add(room(node.module))
    return found


def is_room(name: str) -> bool:
    return (SOURCE / name).is_dir() or (SOURCE / f"{name}.py").exists()


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_imports_only_go_down(path: Path) -> None:
    relative = path.relative_to(SOURCE)
    name = "root" if relative.as_posix() == "__init__.py" else relative.parts[0].removesuffix(".py")
    extra = imports_of(path) - allowed(name) - {name}
    assert not extra, f"{relative} imports {sorted(extra)}; its floor allows {sorted(allowed(name))}"


def test_every_room_stands_on_one_floor() -> None:
    rooms = sorted({p.relative_to(SOURCE).parts[0].removesuffix(".py") for p in FILES} - {"__init__"})
    assert rooms == sorted(room for floor in FLOORS for room in floor - {"root"})


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_files_stay_readable(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


def test_help_answers_at_once() -> None:
    command = [sys.executable, "-m", "avloc", "--help"]
    subprocess.run(command, capture_output=True, check=True)  # once to warm the disk
    best = min(_seconds(command) for _ in range(3))
    assert best < 0.5


def _seconds(command: list[str]) -> float:
    """CPU time: other tests run at the same time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize(
    "module",
    [
        "avloc",
        "avloc.cli",
        "avloc.metrics",
        "avloc.formats",
        "avloc.media",
        "avloc.figures",
        "avloc.features.backbones",
        "avloc.tagging.vocabulary",
    ],
)
def test_light_rooms_stay_light(module: str) -> None:
    """Importing them loads neither torch nor a decoder nor a plotter."""
    code = f"import sys, {module}; print([m for m in ('torch', 'av', 'h5py', 'matplotlib', 'ray') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("avloc.extraction", "avloc.features.layout", "load_npy"),
        ("avloc.extraction", "avloc.features.manifest", "read_manifest"),
        ("avloc.formats", "avloc.formats.detections", "read_detections"),
        ("avloc.media.backbones.protocol", "avloc.features.backbones.protocol", "Setup"),
    ],
)
def test_documented_old_paths_work_and_warn_once(
    monkeypatch: pytest.MonkeyPatch, old: str, new: str, name: str
) -> None:
    parent, _, leaf = old.rpartition(".")
    monkeypatch.setattr(importlib.import_module(parent), leaf, importlib.import_module(old))  # restored at the end
    monkeypatch.delitem(sys.modules, old)
    module = importlib.import_module(old)
    with pytest.warns(FutureWarning, match=f"import {name} from {new}"):
        value = getattr(module, name)
    assert value is getattr(importlib.import_module(new), name)
    assert getattr(module, name) is value  # a second warning would be an error here

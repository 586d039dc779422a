"""Who may import whom: docs/architecture.md as a table, checked on the source (lazy and type-only imports too)."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "avloc"

NOUNS = {"types", "errors"}
FLOOR = NOUNS | {"atomic", "locks", "texts", "workers"}
"""What every room that touches the disk stands on."""
COMPOSERS = {
    "train",
    "pipeline",
    "localizing",
    "extraction",
    "evaluation",
    "checkpoint",
    "importing",
    "doctor",
    "protocols",
    "reference",
}
MODELS = {"model", "model_wtalc", "model_tian"}
LOOKERS = {
    "comparing",
    "exporting",
    "converting",
    "previews",
    "gathering",
    "reporting",
    "plotting",
    "serving",
    "reviewing",
}
LEAVES = MODELS | {
    "fusion",
    "presets",
    "config",
    "formats",
    "media",
    "localize",
    "metrics",
    "report",
    "dataset",
    "losses",
    "tensors",
}

ALLOWED: dict[str, set[str]] = {
    "types": set(),
    "errors": set(),
    "atomic": {"errors"},
    "locks": {"errors", "atomic"},
    "texts": set(),
    "workers": set(),
    "tensors": set(),
    "presets": set(),
    "config": {"errors", "presets"},
    "formats": FLOOR,
    "media": FLOOR | {"config"},
    "metrics": NOUNS,
    "localize": NOUNS | {"config"},
    "report": FLOOR | {"config"},
    "dataset": NOUNS | {"tensors"},
    "fusion": set(),
    "model": NOUNS | {"tensors", "fusion"},
    "model_wtalc": {"model", "tensors"},
    "model_tian": {"model", "tensors"},
    "losses": NOUNS | {"tensors"},
    "checkpoint": FLOOR | MODELS | {"config", "root"},
    "train": FLOOR
    | {"config", "formats", "dataset", "model", "losses", "metrics", "localize", "tensors", "checkpoint", "root"},
    "extraction": FLOOR | {"config", "formats", "media"},
    "protocols": NOUNS | {"formats", "metrics"},
    "reference": NOUNS | {"formats", "metrics", "converting"},
    "evaluation": FLOOR | {"formats", "metrics", "localize", "protocols", "reference"},
    "comparing": NOUNS | {"formats", "metrics", "protocols", "reference", "evaluation"},
    "importing": FLOOR | {"formats", "extraction"},
    "doctor": NOUNS | {"formats"},
    "exporting": NOUNS | {"texts", "formats", "media"},
    "converting": NOUNS | {"formats", "exporting"},
    "previews": NOUNS | {"media"},
    "gathering": FLOOR | {"formats", "localize", "media", "report", "pipeline"},
    "reporting": FLOOR | {"media", "metrics", "report", "previews", "gathering", "converting"},
    "plotting": FLOOR
    | {"formats", "media", "metrics", "report", "previews", "gathering", "converting", "exporting"}
    | {"evaluation", "pipeline", "train", "fusion"},
    "serving": FLOOR | {"formats", "converting", "reporting"},
    "reviewing": FLOOR | {"formats", "media", "gathering", "exporting"},
    "pipeline": NOUNS
    | {"config", "formats", "losses", "dataset", "localize", "checkpoint", "extraction", "exporting", "report"},
    "localizing": FLOOR | {"formats", "localize", "media", "extraction", "exporting", "pipeline", "root"},
    "tables": FLOOR | LEAVES | COMPOSERS | {"console"},
    "console": {"errors"},
    "demo": FLOOR | LEAVES | COMPOSERS | {"console"},
    "cli": FLOOR | LEAVES | COMPOSERS | LOOKERS | {"console", "demo", "tables", "root"},
    "root": {"errors", "pipeline"},
    "__main__": {"cli"},
}
"""room -> the rooms it may import; "root" is avloc/__init__.py."""


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
def test_only_the_arrows_in_the_table(path: Path) -> None:
    relative = path.relative_to(SOURCE)
    name = "root" if relative.as_posix() == "__init__.py" else relative.parts[0].removesuffix(".py")
    extra = imports_of(path) - ALLOWED[name] - {name}
    assert not extra, f"{relative} imports {sorted(extra)}; the table allows {sorted(ALLOWED[name])}"


def test_every_room_is_in_the_table() -> None:
    rooms = {p.relative_to(SOURCE).parts[0].removesuffix(".py") for p in FILES} - {"__init__"}
    assert rooms <= set(ALLOWED)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_files_stay_readable(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


def test_help_answers_at_once() -> None:
    command = [sys.executable, "-m", "avloc", "--help"]
    subprocess.run(command, capture_output=True, check=True)  # once to warm the disk
    best = min(_seconds(command) for _ in range(3))
    assert best < 0.5


def _seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - began


@pytest.mark.parametrize(
    "module", ["avloc", "avloc.cli", "avloc.metrics", "avloc.formats", "avloc.media", "avloc.report"]
)
def test_light_rooms_stay_light(module: str) -> None:
    """Importing them loads neither torch nor a decoder nor a plotter."""
    code = f"import sys, {module}; print([m for m in ('torch', 'av', 'h5py', 'matplotlib', 'ray') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

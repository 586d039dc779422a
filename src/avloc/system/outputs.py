"""What may be written, replaced and deleted in the folder that a user named (`-o OUT`).

Inside `output_folder(OUT)`, a file that avloc did not write is neither replaced nor deleted, and nothing is written or
deleted through a link that leads out of OUT. A file is avloc's if OUT/.avloc.files lists it, or if it is a safetensors
file with avloc's header. Files that a user names one by one are not restricted.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from avloc.errors import InputError
from avloc.system.text import json_text

MANIFEST = ".avloc.files"
"""One JSON string per line: the path below the folder of a file that avloc wrote, or was about to write."""

NEW_MANIFEST = f"{MANIFEST}.new"
LOCK_FILE = ".avloc.lock"
FAILURES, _FAILURES_START = "failures.csv", b"video,path,reason"
_OWN_PREFIX = ".avloc."
_SUFFIX = ".safetensors"
_HEADER = re.compile(rb'"avloc_(?:features|activations)":|"avloc":')
_HEADER_BYTES = 1 << 16
_MANIFEST_BYTES = 64 << 20
_EARLIER = "//earlier"
"""First line of the manifest of a folder that an earlier version made: its files are not listed."""

_EARLIER_PROOFS = {
    "run.yaml": b"avloc: ",
    "state.pt": b"avloc training state",
    "record.json": b'"avloc"',
    "index.html": b"<title>avloc</title>",
    "manifest.csv": b"video,path,status,reason,note",
    "clips.csv": b"clip,video,start_s,end_s,label",
    "tables.csv": b"table,page,row,column",
}


@dataclass
class _Output:
    """An output folder: `folder` as named, absolute; `real` with links resolved; `added` are names of this process."""

    folder: Path
    real: Path
    added: set[str] = field(default_factory=set)

    @property
    def manifest(self) -> Path:
        return self.folder / MANIFEST

    @cached_property
    def listed(self) -> set[str]:
        """Names in the manifest. Read on the first conflict only."""
        return _read_manifest(self.manifest) | self.added

    def name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def owns(self, path: Path) -> bool:
        return self.name(path) in self.listed or has_header(path) or _is_failures(path) or self._part_owns(path)

    def _part_owns(self, path: Path) -> bool:
        """Whether a folder in between with a manifest of its own lists the file."""
        between = [folder for folder in path.parents if folder != self.folder and folder.is_relative_to(self.folder)]
        return any(path.relative_to(folder).as_posix() in _read_manifest(folder / MANIFEST) for folder in between)

    def knows(self, name: str) -> bool:
        """Whether a name is listed, as far as is known without reading the manifest."""
        return name in (self.listed if "listed" in vars(self) else self.added)

    def append(self, names: list[str]) -> None:
        """Add names to the manifest, flushed to disk: a file must not be there before its line."""
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.manifest, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        with os.fdopen(descriptor, "a+b") as file:
            if names and file.tell():
                file.seek(-1, os.SEEK_END)
                file.write(b"" if file.read(1) == b"\n" else b"\n")  # a full disk has cut off the last line
            file.write("".join(json_text(name) + "\n" for name in names).encode())
            file.flush()
            if names:
                os.fsync(file.fileno())
        self.added.update(names)
        if "listed" in vars(self):
            self.listed.update(names)

    def tidy(self) -> None:
        """Write the manifest anew, sorted and without files that are gone; remove an empty one.

        The same files give the same manifest, whatever was interrupted.
        """
        new = self.manifest.with_name(NEW_MANIFEST)
        names = sorted(self.name(path) for path in self.files() if os.path.lexists(path))
        earlier = [_EARLIER] if _EARLIER in self.listed else []
        if not names and not earlier and not self._has_marks():
            self.manifest.unlink(missing_ok=True)
            return
        lines = "".join(json_text(name) + "\n" for name in earlier + names).encode()
        new.unlink(missing_ok=True)  # it may be a link
        if self.manifest.is_file() and self.manifest.read_bytes() == lines:
            return
        try:
            with new.open("xb") as file:
                file.write(lines)
            os.replace(new, self.manifest)
        finally:
            new.unlink(missing_ok=True)

    def _has_marks(self) -> bool:
        """Whether the folder has a lock file, or a folder inside a manifest: without one here, it would look as if an
        earlier version had made it."""
        parts = (path for path in self.folder.rglob(MANIFEST) if path != self.manifest)
        return any(self.folder.glob(f"{LOCK_FILE}*")) or any(parts)

    def files(self) -> list[Path]:
        """Listed files, whether they are there or not."""
        plain = (Path(name) for name in self.listed if "\0" not in name and name != _EARLIER)
        return [self.folder / name for name in plain if not name.is_absolute() and ".." not in name.parts]


_OUTPUTS: ContextVar[tuple[_Output, ...]] = ContextVar("outputs", default=())


@contextmanager
def output_folder(folder: Path, own: bool = False, shared: bool = False) -> Iterator[None]:
    """Context manager: files of others in `folder` are kept, and links out of it refused. May be nested.

    Args:
        own: with a manifest of its own also inside another output folder, as the parts of a run that may stand alone.
        shared: other processes write to the folder as well, so that the manifest is only appended to.

    Raises:
        InputError: the folder itself is reached through a link out of an outer one. OSError: it is not writable.
    """
    absolute = Path(os.path.abspath(folder))
    if any(output.folder == absolute or not own for output in _OUTPUTS.get() if absolute.is_relative_to(output.folder)):
        yield
        return
    check_inside(folder / "_")
    output = _Output(absolute, _resolved(folder))
    if not os.path.lexists(output.manifest) and folder.is_dir():
        output.append([_EARLIER] if _of_earlier_version(folder) else [])
    token = _OUTPUTS.set((*_OUTPUTS.get(), output))
    try:
        yield
    finally:
        _OUTPUTS.reset(token)
        if not shared:
            with suppress(OSError):  # a full disk; the manifest is whole as it is
                output.tidy()


def check_inside(path: Path) -> None:
    """Refuse a path that a link leads out of an output folder. The last component may be a link: it is replaced.

    Raises:
        InputError: the path lies in an output folder by its name, but not in fact.
    """
    absolute = Path(os.path.abspath(path))
    for output in _OUTPUTS.get():
        below = absolute != output.folder and absolute.is_relative_to(output.folder)
        if below and not _resolved(absolute.parent).is_relative_to(output.real):
            raise InputError(
                f"{path.parent}: a link leads out of {output.folder}, and nothing is written or deleted there; remove "
                "the link, or choose another -o"
            )


def claim(*paths: Path) -> None:
    """List files of an output folder before they are written.

    Raises:
        InputError: a file is there that avloc did not write, or a link leads out of the folder. OSError: as of writing.
    """
    new: dict[Path, tuple[_Output, list[str]]] = {}
    for path in paths:
        check_inside(path)
        absolute = Path(os.path.abspath(path))
        output = _innermost(absolute)
        if output is None or absolute.name.startswith(_OWN_PREFIX):
            continue
        if os.path.lexists(absolute) and not output.owns(absolute) and _EARLIER not in output.listed:
            raise InputError(
                f"{path}: there is a file that avloc did not write, and it is not replaced; move it away, or choose "
                "another -o"
            )
        name = output.name(absolute)
        if absolute.name != FAILURES and not output.knows(name):
            new.setdefault(output.folder, (output, []))[1].append(name)
    for output, names in new.values():
        output.append(names)


def discard(path: Path) -> bool:
    """Delete a file if avloc wrote it; returns whether it is gone. Folders and files of others in OUT stay.

    Raises:
        InputError: a link leads out of the folder.
    """
    check_inside(path)
    absolute = Path(os.path.abspath(path))
    output = _innermost(absolute)
    foreign = output is not None and not output.owns(absolute) and _EARLIER not in output.listed
    folder = path.is_dir() and not path.is_symlink()
    if folder or (foreign and os.path.lexists(absolute)):
        return False
    path.unlink(missing_ok=True)
    return True


def written_files(folder: Path) -> list[Path]:
    """Existing files below `folder` that the output folder's manifest lists, sorted."""
    absolute = Path(os.path.abspath(folder))
    output = _innermost(absolute / "_")
    if output is None:
        return []
    return sorted(path for path in output.files() if path.is_relative_to(absolute) and os.path.lexists(path))


def has_header(path: Path) -> bool:
    """Whether a .safetensors file begins with a header that avloc wrote. An empty file counts: nothing is lost."""
    if path.suffix != _SUFFIX:
        return False
    start = first_bytes(path, _HEADER_BYTES)
    return start is not None and (not start or (start[8:9] == b"{" and _HEADER.search(start) is not None))


def _is_failures(path: Path) -> bool:
    """Whether a file is a table of failures, which says itself what it is."""
    return path.name == FAILURES and first_bytes(path, len(_FAILURES_START)) == _FAILURES_START


def first_bytes(path: Path, size: int) -> bytes | None:
    """The first bytes of a file; None if it is none or cannot be read. Opening a pipe would wait for its writer."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return file.read(size)
    except OSError:
        return None


def _read_manifest(path: Path) -> set[str]:
    """Names in a manifest; none if there is none."""
    names = set()
    for line in (first_bytes(path, _MANIFEST_BYTES) or b"").splitlines():
        try:
            names.add(json.loads(line))
        except (ValueError, TypeError, RecursionError):  # a line that was cut off by a crash
            continue
    return {name for name in names if isinstance(name, str)}


def _innermost(absolute: Path) -> _Output | None:
    within = [output for output in _OUTPUTS.get() if absolute.is_relative_to(output.folder)]
    return max(within, key=lambda output: len(output.folder.parts), default=None)


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except RuntimeError as error:  # links that lead to each other
        raise InputError(f"{path}: links lead in a circle; remove them, or choose another -o") from error


def _of_earlier_version(folder: Path) -> bool:
    """Whether a folder without manifest was made by avloc: a file in it says so, or with a lock one in its folders.

    A lock alone says nothing about the files: an earlier version that refused to work in a folder leaves one.
    """
    locked = any(folder.glob(f"{LOCK_FILE}*"))
    return _has_proof(folder) or (locked and any(map(_has_proof, filter(Path.is_dir, folder.iterdir()))))


def _has_proof(folder: Path) -> bool:
    if any(proof in (first_bytes(folder / name, _HEADER_BYTES) or b"") for name, proof in _EARLIER_PROOFS.items()):
        return True
    return any(map(has_header, [*folder.glob(f"*{_SUFFIX}")][:3]))

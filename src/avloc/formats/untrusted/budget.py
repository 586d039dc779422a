"""Memory that reading one file may take, decided before it is taken.

A `Budget` is charged for everything that a reader is about to build. Data in which one part is referred to many times
are counted as often as they are referred to: a consumer that copies, prints or converts them would build all of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from avloc.errors import FormatError
from avloc.formats.untrusted.bombs import FREE_BYTES

GROWTH = 16
"""Accepted beyond `FREE_BYTES`: this many times the file's size. Python's lists of numbers take 4 to 11 times as much
as their pickle or JSON."""

CONTAINER, NUMBER, TEXT, POINTER = 64, 32, 56, 8
"""Bytes of Python objects, without what they contain."""

MOST_DEPTH = 100
_NUMBERS = frozenset({int, float, bool, type(None)})


class Budget:
    """Bytes that a file may become in memory."""

    def __init__(self, path: Path | str, there: int) -> None:
        self.path, self.there, self.left = path, there, FREE_BYTES + GROWTH * there

    def charge(self, size: int) -> None:
        """Count bytes that are about to be taken.

        Raises:
            FormatError: more than the file may take.
        """
        self.left -= size
        if self.left < 0:
            raise FormatError(
                f"{self.path}: its content would take more than {FREE_BYTES + GROWTH * self.there >> 20} MiB of memory "
                f"from a file of {self.there} bytes, above the limit; if the file is right, split it, or save its "
                "arrays as plain .npy"
            )

    def charge_tree(self, value: Any) -> None:
        """Count nested dicts, lists and tuples, shared parts as often as they are referred to.

        Raises:
            FormatError: too much, nested deeper than `MOST_DEPTH`, or a container that contains itself.
        """
        self.charge(self._size(value, {}, 0))

    def _size(self, value: Any, known: dict[int, int | None], depth: int) -> int:
        if isinstance(value, str | bytes):
            return TEXT + len(value)
        if not isinstance(value, dict | list | tuple):
            return NUMBER
        if id(value) in known:
            size = known[id(value)]
            if size is None:
                raise FormatError(
                    f"{self.path}: expected plain data, got a {type(value).__name__} that contains itself"
                )
            return size
        if depth >= MOST_DEPTH:
            raise FormatError(f"{self.path}: expected plain data, got lists nested deeper than {MOST_DEPTH}")
        known[id(value)] = None
        parts: Iterable[Any] = (*value, *value.values()) if isinstance(value, dict) else value
        size = CONTAINER
        for part in parts:
            size += POINTER if type(part) in _NUMBERS else POINTER + self._size(part, known, depth + 1)
        known[id(value)] = size
        return size


def json_budget(path: Path | str, content: bytes) -> None:
    """Charge what the brackets, texts and commas of JSON become, before it is parsed. Raises FormatError."""
    containers, texts, commas = content.count(b"[") + content.count(b"{"), content.count(b'"') // 2, content.count(b",")
    budget = Budget(path, len(content))
    budget.charge(len(content) + (CONTAINER + POINTER) * containers + TEXT * texts + POINTER * commas)


def xml_budget(path: Path | str, content: bytes) -> None:
    """The same for the elements and attributes of XML: about 250 bytes each, as xml.etree keeps them."""
    Budget(path, len(content)).charge(len(content) + 120 * content.count(b"<") + 60 * content.count(b"="))

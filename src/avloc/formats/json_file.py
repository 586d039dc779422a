"""JSON files of unknown origin: plain or compressed, their texts in one Unicode form."""

from __future__ import annotations

import gc
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from avloc.errors import FormatError, InputError
from avloc.formats.untrusted.bombs import gunzip, read_document
from avloc.formats.untrusted.budget import json_budget
from avloc.system.text import nfc

_UNWRITABLE = re.compile("[\0\ud800-\udfff]")
"""Characters that other formats cannot store: NUL and lone surrogates."""

_MOST_DIGITS = 300
"""Of an integer; longer ones are too large for a float."""

_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)

_SUSPECT = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])|\xed[\xa0-\xbf]|\x00")
"""Bytes of JSON that may contain such characters: escaped, in UTF-8 as Python's decoder accepts them, or in UTF-16."""


def read_json(path: Path | str) -> dict[str, Any]:
    """A JSON object from a file (.gz accepted), its texts in Unicode's form NFC."""
    source = Path(path)
    if not source.is_file():
        raise InputError(f"{source}: expected a JSON file; it does not exist")
    try:
        content = gunzip(source) if source.suffix == ".gz" else read_document(source)
    except (ValueError, EOFError, zlib.error) as error:
        raise FormatError(f"{source}: expected JSON; it cannot be parsed ({error})") from error
    return json_object(source, content)


def json_object(source: Path, content: bytes) -> dict[str, Any]:
    """A JSON object of unknown origin, its texts in Unicode's form NFC.

    Args:
        source: where it is from, for messages.

    Raises:
        FormatError: it is not a JSON object, or would take far more memory than its size.
    """
    try:
        value = parse_json(source, content)
        if _SUSPECT.search(content):
            _check_text(source, value)
        if not content.isascii() or b"\\u" in content or b"\0" in content:
            value = _composed(source, value)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{source}: expected JSON; it cannot be parsed ({error})") from error
    if not isinstance(value, dict):
        raise FormatError(f"{source}: expected a JSON object {{...}}, got {type(value).__name__}")
    return value


def parse_json(path: Path | str, content: bytes | None = None) -> Any:
    """The value of JSON of unknown origin.

    Args:
        content: None reads the file.

    Raises:
        FormatError: it would take far more memory than its size. ValueError, RecursionError: it is not JSON. OSError:
            the file cannot be read.
    """
    content = read_document(Path(path)) if content is None else content
    json_budget(path, content)
    with _without_gc():
        if b"0" * _MOST_DIGITS in content.translate(_DIGITS):
            return json.loads(content, parse_int=_integer)
        return json.loads(content)


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _check_text(path: Path, value: Any) -> None:
    """Raise FormatError for strings with `_UNWRITABLE` characters."""
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            todo += [*item, *item.values()]
        elif isinstance(item, list):
            todo += item
        elif isinstance(item, str) and _UNWRITABLE.search(item):
            raise FormatError(f"{path}: the text {item[:40]!r} contains NUL or a lone surrogate; remove it")


def _composed(path: Path, value: Any) -> Any:
    """Every text of a JSON value in Unicode's form NFC. FormatError for an object with one key in two forms."""
    if isinstance(value, str):
        return nfc(value)
    if isinstance(value, list):
        return [_composed(path, item) for item in value]
    if not isinstance(value, dict):
        return value
    made: dict[str, Any] = {}
    for key, item in value.items():
        if nfc(key) in made:
            raise FormatError(f"{path}: {nfc(key)!r} is there twice, written in two Unicode forms; keep one")
        made[nfc(key)] = _composed(path, item)
    return made


@contextmanager
def _without_gc() -> Iterator[None]:
    """Pause garbage collection: JSON makes many objects but no cycles, and the search takes a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()

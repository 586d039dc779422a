"""Answers to the page: a status and a JSON object."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from avloc.errors import AvlocError, FormatError, StorageError
from avloc.formats.tags import read_tags
from avloc.report.serve.corrections import save_corrections, saved_corrections
from avloc.report.serve.drafts import save_tags
from avloc.system.text import pluralize

_log = logging.getLogger("avloc")
Answer = tuple[HTTPStatus, dict[str, Any]]


def answered(work: Callable[[], Answer]) -> Answer:
    """An answer whatever happens: 500 and the reason for an error that is no answer, which is logged."""
    try:
        return work()
    except OSError as error:
        _log.error("%s", error)
        return HTTPStatus.INTERNAL_SERVER_ERROR, {"message": str(error)}
    except Exception as error:
        _log.exception("a request failed")
        return HTTPStatus.INTERNAL_SERVER_ERROR, {"message": f"{type(error).__name__}: {error}"}


def save(path: Path, content: bytes) -> Answer:
    """Save corrections.

    409 with what is there now for videos that have changed since the page read them; otherwise as `_answer`.
    """
    return _answer(path, lambda: _corrections(path, content))


def save_drafts(path: Path, content: bytes) -> Answer:
    """Save draft labels; errors as in `_answer`."""
    return _answer(
        path,
        lambda: (HTTPStatus.OK, {"message": f"{pluralize(save_tags(content, path), 'video')} saved in {path}"}),
    )


def _answer(path: Path, work: Callable[[], Answer]) -> Answer:
    """400 for content that cannot be read, 507 if the disk is full, 500 if the file cannot be written otherwise."""
    try:
        return work()
    except FormatError as error:
        return HTTPStatus.BAD_REQUEST, {"message": f"not saved: {error}"}
    except (AvlocError, OSError) as error:
        full = isinstance(error, StorageError) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        _log.error("%s not saved: %s", path, error)
        status = HTTPStatus.INSUFFICIENT_STORAGE if full else HTTPStatus.INTERNAL_SERVER_ERROR
        return status, {"message": f"not saved: {error}"}


def _corrections(path: Path, content: bytes) -> Answer:
    saved = save_corrections(content, path)
    message = f"{pluralize(len(saved.versions), 'video')} saved in {path}"
    if not saved.conflicts:
        return HTTPStatus.OK, {"message": message, "versions": saved.versions}
    others = f"{pluralize(len(saved.conflicts), 'video')} corrected elsewhere meanwhile"
    answer = {"message": f"{others}; {message}", "versions": saved.versions, "conflicts": saved.conflicts}
    return HTTPStatus.CONFLICT, answer


def read_drafts(path: Path) -> Answer:
    """{video: {label: whether it is kept}} of the table."""
    try:
        rows = read_tags(path)
    except (AvlocError, OSError) as error:
        return HTTPStatus.INTERNAL_SERVER_ERROR, {"message": str(error)}
    videos: dict[str, dict[str, bool]] = {}
    for row in rows:
        if row.label:
            videos.setdefault(row.video, {})[row.label] = row.keep
    return HTTPStatus.OK, {"videos": videos}


def no_jobs() -> Answer:
    """The state of a server without retraining."""
    return HTTPStatus.OK, {"possible": False, "why": "", "job": None}


def read_saved(path: Path) -> Answer:
    """What the file states about each video."""
    try:
        return HTTPStatus.OK, {"videos": saved_corrections(path)}
    except AvlocError as error:
        return HTTPStatus.INTERNAL_SERVER_ERROR, {"message": str(error)}

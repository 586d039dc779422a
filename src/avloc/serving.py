"""`avloc view`: the page on this machine's loopback, so that large videos stream and corrections can be written back.

What is refused: every address but 127.0.0.1; a Host that is not ours (a foreign name that resolves to us); paths that
leave the page's folder, by `..`, by links or by encoding; posts from another page (Origin) or of another kind than
JSON. Nothing is listed, nothing but the corrections is written.
"""

from __future__ import annotations

import json
import mimetypes
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from avloc.errors import AvlocError, InputError
from avloc.formats import read_annotations, write_annotations
from avloc.types import VideoAnnotation

__all__ = ["HOST", "PageServer", "find_file", "save_corrections"]

HOST = "127.0.0.1"
_BLOCK = 1 << 18
_LARGEST_POST = 64 << 20
_RANGE = re.compile(r"^bytes=(\d*)-(\d*)$")
_TYPES = {".js": "text/javascript", ".mp4": "video/mp4", ".mkv": "video/x-matroska", ".mov": "video/mp4"}


@dataclass
class PageServer:
    """Serves one page until closed.

    Args:
        page: its folder.
        served: {URL path: file} of videos that lie elsewhere.
        corrections: file that saved corrections go to.
        port: 0 takes a free one.

    Raises:
        InputError: the port is taken.
    """

    page: Path
    served: Mapping[str, Path] = field(default_factory=dict)
    corrections: Path | None = None
    port: int = 0

    def __post_init__(self) -> None:
        try:
            self._server = _Server((HOST, self.port), _Handler)
        except OSError as error:
            raise InputError(f"port {self.port} cannot be used ({error.strerror}); choose another --port") from error
        self._server.site = self
        self.port = self._server.server_address[1]

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.port}/"

    def run(self) -> None:
        """Serve until `close` is called from another thread, or Ctrl-C."""
        self._server.serve_forever(poll_interval=0.2)

    def close(self) -> None:
        """Stop serving and give the port back."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    site: PageServer


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_POST(self) -> None:
        site = self.server.site
        if not self._ours() or self.headers.get("Origin") != site.url.rstrip("/"):
            return self._say(HTTPStatus.FORBIDDEN, "only this page may write")
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if self.path != "/corrections" or site.corrections is None:
            return self._say(HTTPStatus.NOT_FOUND, "there is nothing to write to")
        length = int(self.headers.get("Content-Length") or 0)
        if kind != "application/json" or not 0 < length <= _LARGEST_POST:
            return self._say(HTTPStatus.BAD_REQUEST, "expected JSON of at most 64 MiB")
        try:
            count = save_corrections(self.rfile.read(length), site.corrections)
        except AvlocError as error:
            return self._say(HTTPStatus.BAD_REQUEST, f"not saved: {error}")
        return self._say(HTTPStatus.OK, f"{count} videos are saved in {site.corrections}")

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: people watch the page, not the log."""

    def _ours(self) -> bool:
        return self.headers.get("Host") in (f"{HOST}:{self.server.site.port}", f"localhost:{self.server.site.port}")

    def _answer(self, body: bool) -> None:
        if not self._ours():
            return self._say(HTTPStatus.FORBIDDEN, "unknown host")
        file = find_file(self.path, self.server.site.page, self.server.site.served)
        if file is None:
            return self._say(HTTPStatus.NOT_FOUND, "there is no such file in the page")
        size = file.stat().st_size
        span = _span(self.headers.get("Range"), size)
        if span is None:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        start, stop, partial = span
        self.send_response(HTTPStatus.PARTIAL_CONTENT if partial else HTTPStatus.OK)
        if partial:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self._headers(_type(file), stop - start)
        if body:
            self._send(file, start, stop)
        return None

    def _headers(self, kind: str, length: int) -> None:
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()

    def _send(self, file: Path, start: int, stop: int) -> None:
        try:
            with file.open("rb") as source:
                source.seek(start)
                while start < stop and (block := source.read(min(_BLOCK, stop - start))):
                    self.wfile.write(block)
                    start += len(block)
        except (ConnectionError, TimeoutError):  # the player has enough; it asks for ranges and hangs up
            self.close_connection = True

    def _say(self, status: HTTPStatus, message: str) -> None:
        """A short JSON answer; the connection ends, so that an unread body is not taken for the next request."""
        content = json.dumps({"message": message}).encode()
        self.send_response(status)
        self.send_header("Connection", "close")
        self._headers("application/json", len(content))
        self.close_connection = True
        if self.command != "HEAD":
            self.wfile.write(content)


def find_file(target: str, page: Path, served: Mapping[str, Path]) -> Path | None:
    """The file that a request means, or None. Only files within `page` (links resolved) and those of `served`."""
    path = unquote(urlsplit(target).path, errors="replace")
    parts = [part for part in path.split("/") if part]
    if any(part in (".", "..") or "\\" in part or "\0" in part or ":" in part for part in parts):
        return None
    name = "/".join(parts) or "index.html"
    if name in served:
        return served[name] if served[name].is_file() else None
    try:
        file = (page / name).resolve(strict=True)
    except OSError:
        return None
    hidden = any(part.startswith(".") for part in parts)
    return file if file.is_relative_to(page.resolve()) and file.is_file() and not hidden else None


def _span(header: str | None, size: int) -> tuple[int, int, bool] | None:
    """(start, stop, whether it is a part) that a Range header asks for; None when it cannot be had."""
    match = _RANGE.match(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):  # none, several or not bytes: the whole file is a right answer
        return 0, size, False
    first, last = match.groups()
    start = max(0, size - int(last)) if not first else int(first)
    stop = size if not last or not first else min(size, int(last) + 1)
    return (start, stop, True) if start < stop else None


def _type(file: Path) -> str:
    return _TYPES.get(file.suffix.lower()) or mimetypes.guess_type(file.name)[0] or "application/octet-stream"


def save_corrections(content: bytes, path: Path) -> int:
    """Write ActivityNet ground truth that came from the page; videos that it does not hold keep what they had.

    Returns:
        The number of videos that came.

    Raises:
        FormatError: it is not ActivityNet's schema. InputError: the file cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "posted.json"
        draft.write_bytes(content)
        new, _ = read_annotations(draft)
    known: dict[str, VideoAnnotation] = {}
    if path.is_file():
        known = {a.video_id: a for a in read_annotations(path)[0]}
    known |= {a.video_id: a for a in new}
    write_annotations(path, known.values(), version="avloc corrections")
    return len(new)

"""`avloc view`: the page on this machine's loopback, so that large videos stream and corrections can be written back.

What is refused: every address but 127.0.0.1; a Host that is not ours (a foreign name that resolves to us); paths that
leave the page's folder, by `..`, by links or by encoding; whatever another page asks for, but to show the page itself
(Sec-Fetch-Site); posts from another page (Origin) or of another kind than JSON; bodies of no stated length, or above
64 MiB, before they are read. Nothing is listed, nothing but the corrections is written. A client that is slow to ask,
or that stops reading, is let go.
"""

from __future__ import annotations

import io
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

from avloc.errors import AvlocError, InputError
from avloc.report.serve.corrections import save_corrections
from avloc.report.serve.files import byte_span, find_file, kind_of

__all__ = ["HOST", "PageServer"]

HOST = "127.0.0.1"
_BLOCK = 1 << 18
_LARGEST_POST = 64 << 20
_ASKING_S = 30.0
"""From the first byte of a request to its last; of a connection that asks for nothing, too."""

_READING_S = 600.0
"""Without a byte taken of an answer: a paused video is read no further, and players ask again."""

_MOST_CLIENTS = 64
_POLICY = (
    *("default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "media-src 'self' blob:"),
    *("connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"),
)
_HEADERS = {
    "Content-Security-Policy": "; ".join(_POLICY),
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""Of every answer, also of errors."""


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
        self.writing = threading.Lock()

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
    block_on_close = False
    request_queue_size = _MOST_CLIENTS
    site: PageServer

    def __init__(self, *args: Any) -> None:
        self._free = threading.BoundedSemaphore(_MOST_CLIENTS)
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hang up on more clients at once than a browser ever is."""
        if not self._free.acquire(blocking=False):
            return self.shutdown_request(request)
        return super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of ours."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Request(io.RawIOBase):
    """What a client sends, with one limit of time for the whole of a request."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.begin()

    def begin(self) -> None:
        self.until = time.monotonic() + _ASKING_S

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.connection.settimeout(max(0.001, self.until - time.monotonic()))
        try:
            return self.connection.recv_into(buffer)
        finally:
            self.connection.settimeout(_READING_S)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "avloc", ""

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.asked = _Request(self.connection)
        self.rfile = io.BufferedReader(self.asked)

    def handle_one_request(self) -> None:
        self.asked.begin()
        super().handle_one_request()

    def end_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_POST(self) -> None:
        site = self.server.site
        ours = f"http://{self._only('Host')}"
        if not self._welcome() or self._only("Origin") != ours:
            return self._say(HTTPStatus.FORBIDDEN, "only this page may write")
        if self.path != "/corrections" or site.corrections is None:
            return self._say(HTTPStatus.NOT_FOUND, "there is nothing to write to")
        if self.headers.get_content_type() != "application/json":
            return self._say(HTTPStatus.BAD_REQUEST, "expected JSON")
        length = self._length()
        if not isinstance(length, int):
            return self._say(*length)
        content = self._body(length)
        if len(content) < length:
            return self._say(HTTPStatus.BAD_REQUEST, f"expected {length} bytes, got {len(content)}")
        try:
            with site.writing:
                count = save_corrections(content, site.corrections)
        except AvlocError as error:
            return self._say(HTTPStatus.BAD_REQUEST, f"not saved: {error}")
        return self._say(HTTPStatus.OK, f"{count} videos are saved in {site.corrections}")

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: people watch the page, not the log."""

    def _only(self, name: str) -> str | None:
        """A header that is there once."""
        values = self.headers.get_all(name, [])
        return str(values[0]) if len(values) == 1 else None

    def _welcome(self) -> bool:
        """Whether it is for us (Host), and asked by our page, by a person, or to show the page from a link."""
        port = self.server.site.port
        if self._only("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            return False
        followed = self.command == "GET" and self.headers.get("Sec-Fetch-Mode") == "navigate"
        framed = self.headers.get("Sec-Fetch-Dest") not in (None, "document")
        return self.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin") or (followed and not framed)

    def _length(self) -> int | tuple[HTTPStatus, str]:
        """Of the body, as stated; or why it is not read."""
        said = self.headers.get_all("Content-Length", [])
        if "Transfer-Encoding" in self.headers or not said:
            return HTTPStatus.LENGTH_REQUIRED, "expected Content-Length"
        if len(said) > 1 or not (said[0].isascii() and said[0].isdigit()):
            return HTTPStatus.BAD_REQUEST, "Content-Length must be one number"
        if len(said[0]) > 18 or int(said[0]) > _LARGEST_POST:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "expected JSON of at most 64 MiB"
        return int(said[0])

    def _body(self, length: int) -> bytes:
        """What comes of it: memory is taken for bytes that are there, not for those that are promised."""
        content = bytearray()
        while len(content) < length and (block := self.rfile.read(min(_BLOCK, length - len(content)))):
            content += block
        return bytes(content)

    def _answer(self, body: bool) -> None:
        if not self._welcome():
            return self._say(HTTPStatus.FORBIDDEN, "unknown host, or another page")
        if "Transfer-Encoding" in self.headers or self.headers.get("Content-Length", "0") != "0":
            return self._say(HTTPStatus.BAD_REQUEST, "expected no content")
        path = find_file(self.path, self.server.site.page, self.server.site.served)
        try:
            if path is None:
                raise FileNotFoundError
            with path.open("rb") as file:
                return self._hand_out(file, kind_of(path), body)
        except (FileNotFoundError, PermissionError):
            return self._say(HTTPStatus.NOT_FOUND, "there is no such file in the page")

    def _hand_out(self, file: BinaryIO, kind: str, body: bool) -> None:
        size = os.fstat(file.fileno()).st_size
        span = byte_span(self.headers.get("Range"), size)
        if span is None:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        start, stop, partial = span
        self.send_response(HTTPStatus.PARTIAL_CONTENT if partial else HTTPStatus.OK)
        if partial:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self._describe(kind, stop - start)
        if body:
            self._send(file, start, stop)
        return None

    def _describe(self, kind: str, length: int) -> None:
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()

    def _send(self, file: BinaryIO, start: int, stop: int) -> None:
        try:
            file.seek(start)
            while start < stop and (block := file.read(min(_BLOCK, stop - start))):
                self.wfile.write(block)
                start += len(block)
        except (ConnectionError, TimeoutError):  # the player has enough; it asks for ranges and hangs up
            self.close_connection = True
        if start < stop:  # it has become shorter: what was promised cannot come
            self.close_connection = True

    def _say(self, status: HTTPStatus, message: str) -> None:
        """A short JSON answer; the connection ends, so that an unread body is not taken for the next request."""
        content = json.dumps({"message": message}).encode()
        self.send_response(status)
        self.send_header("Connection", "close")
        self._describe("application/json", len(content))
        self.close_connection = True
        if self.command != "HEAD":
            self.wfile.write(content)

"""`avloc view`: serve the page on the loopback address, so that large videos stream and corrections can be saved.

Refused: addresses other than 127.0.0.1; an unknown Host header (DNS rebinding); paths outside the page's folder, by
`..`, symlinks or encoding; cross-site requests other than navigation to the page (Sec-Fetch-Site); POSTs from another
origin or with a content type other than JSON; bodies without a length or above 64 MiB, before they are read; bodies of
GET and HEAD; lines that are not RFC 9112's, on which two programs could disagree; a header that decides something given
twice. No directory is listed; only the corrections or draft labels are written, and only the retraining of a result
that the server knows is started. Clients that send slowly or stop reading are disconnected.
"""

from __future__ import annotations

import io
import logging
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

from avloc.errors import InputError
from avloc.report.serve.answers import Answer, answered, no_jobs, read_drafts, read_saved, save, save_drafts
from avloc.report.serve.files import byte_span, find_file, kind_of
from avloc.report.serve.retrainer import Retrainer
from avloc.system.text import json_text

HOST = "127.0.0.1"
_BLOCK = 1 << 18
_MAX_POST = 64 << 20
_REQUEST_TIMEOUT_S = 30.0
"""Timeout for receiving a complete request, and for idle connections."""

_SEND_TIMEOUT_S = 600.0
"""Timeout for sending: players stop reading while paused, and reconnect."""

_MAX_CLIENTS = 64
_REQUEST_LINE = re.compile(rb"[A-Z]{1,20} /[\x21-\x7e]* HTTP/1\.[01]\r\n")
_HEADER_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n")
"""RFC 9112, sections 3 and 5, without absolute targets and folded lines, which no browser sends to a server."""

_ONCE = (
    *("Content-Length", "Content-Type", "Transfer-Encoding", "Range"),
    *("Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest"),
)
_log = logging.getLogger("avloc")
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
"""Sent with every response, errors included."""


@dataclass
class PageServer:
    """Serves one page until closed.

    Args:
        page: folder of the page.
        served: {URL path: file} of videos outside that folder.
        corrections: file to save corrections to.
        tags: table to save draft labels to.
        port: 0 selects a free port.
        jobs: retraining from the page; None: not offered.

    Raises:
        InputError: the port is in use.
    """

    page: Path
    served: Mapping[str, Path] = field(default_factory=dict)
    corrections: Path | None = None
    port: int = 0
    jobs: Retrainer | None = None
    tags: Path | None = None

    def __post_init__(self) -> None:
        try:
            self._server = _Server((HOST, self.port), _Handler)
        except OSError as error:
            raise InputError(f"port {self.port} cannot be used ({error.strerror}); choose another --port") from error
        self._server.site = self
        self.port = self._server.server_address[1]
        self.actions: dict[str, Callable[[bytes], Answer]] = {}
        self.states: dict[str, Callable[[], Answer]] = {"/job": no_jobs}
        if self.corrections is not None:
            self.actions["/corrections"] = partial(save, self.corrections)
            self.states["/saved"] = partial(read_saved, self.corrections)
        if self.tags is not None:
            self.actions["/tags"] = partial(save_drafts, self.tags)
            self.states["/drafts"] = partial(read_drafts, self.tags)
        if self.jobs is not None:
            self.actions["/job"], self.states["/job"] = self.jobs.act, self.jobs.state

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{HOST}:{self.port}/"

    def run(self) -> None:
        """Serve until `close` is called from another thread, or until Ctrl-C."""
        self._server.serve_forever(poll_interval=0.2)

    def close(self) -> None:
        """Stop serving and free the port."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = _MAX_CLIENTS
    site: PageServer

    def __init__(self, *args: Any) -> None:
        self._free = threading.BoundedSemaphore(_MAX_CLIENTS)
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Limit the number of simultaneous connections, to more than a browser opens."""
        if not self._free.acquire(blocking=False):
            return self.shutdown_request(request)
        return super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors of disconnected clients."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Recorder:
    """Keeps the lines that are read of a stream."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self.stream = stream
        self.lines: list[bytes] = []

    def readline(self, limit: int = -1) -> bytes:
        self.lines.append(self.stream.readline(limit))
        return self.lines[-1]


class _Request(io.RawIOBase):
    """Input from a client, with one timeout per request."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.begin()

    def begin(self) -> None:
        self.until = time.monotonic() + _REQUEST_TIMEOUT_S

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.connection.settimeout(max(0.001, self.until - time.monotonic()))
        try:
            return self.connection.recv_into(buffer)
        finally:
            self.connection.settimeout(_SEND_TIMEOUT_S)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    raw_requestline: bytes
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

    def parse_request(self) -> bool:
        """As http.server does, after a strict check of every line."""
        if not _REQUEST_LINE.fullmatch(self.raw_requestline):
            return self._malformed("the request line")
        recorded = _Recorder(self.rfile)
        self.rfile = recorded  # type: ignore[assignment]
        try:
            if not super().parse_request():
                return False
        finally:
            self.rfile = recorded.stream
        if not all(map(_HEADER_LINE.fullmatch, recorded.lines[:-1])) or recorded.lines[-1] != b"\r\n":
            return self._malformed("a header")
        if twice := next((name for name in _ONCE if len(self.headers.get_all(name, [])) > 1), None):
            return self._malformed(f"{twice} once")
        return True

    def _malformed(self, what: str) -> bool:
        self.command, self.request_version, self.requestline = "GET", self.protocol_version, ""
        self._respond(HTTPStatus.BAD_REQUEST, f"expected {what} as in RFC 9112")
        return False

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
        if not self._allowed() or self._only("Origin") != ours:
            return self._respond(HTTPStatus.FORBIDDEN, "unknown host or cross-site request")
        if self.path not in site.actions:
            return self._respond(HTTPStatus.NOT_FOUND, "no such endpoint")
        if self.headers.get_content_type() != "application/json":
            return self._respond(HTTPStatus.BAD_REQUEST, "expected JSON")
        length = self._length()
        if not isinstance(length, int):
            return self._respond(*length)
        content = self._body(length)
        if len(content) < length:
            return self._respond(HTTPStatus.BAD_REQUEST, f"expected {length} bytes, got {len(content)}")
        return self._reply(*answered(partial(site.actions[self.path], content)))

    def log_message(self, format: str, *args: Any) -> None:
        """Do not log requests."""

    def _only(self, name: str) -> str | None:
        """The value of a header that occurs once, else None."""
        values = self.headers.get_all(name, [])
        return str(values[0]) if len(values) == 1 else None

    def _allowed(self) -> bool:
        """Whether the Host is ours and the request comes from our page, the user, or a link to the page."""
        name, _, port = (self._only("Host") or "").partition(":")
        if name not in (HOST, "localhost") or (port or "80") != str(self.server.site.port):
            return False
        navigation = self.command == "GET" and self.headers.get("Sec-Fetch-Mode") == "navigate"
        framed = self.headers.get("Sec-Fetch-Dest") not in (None, "document")
        return self.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin") or (navigation and not framed)

    def _length(self) -> int | tuple[HTTPStatus, str]:
        """Length of the body, or the status and message of the refusal."""
        lengths = self.headers.get_all("Content-Length", [])
        if "Transfer-Encoding" in self.headers or not lengths:
            return HTTPStatus.LENGTH_REQUIRED, "expected Content-Length"
        if len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdigit()):
            return HTTPStatus.BAD_REQUEST, "Content-Length must be one number"
        if len(lengths[0]) > 18 or int(lengths[0]) > _MAX_POST:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "expected JSON of at most 64 MiB"
        return int(lengths[0])

    def _body(self, length: int) -> bytes:
        """Read the body; memory grows with the bytes received, not with the length announced."""
        content = bytearray()
        while len(content) < length and (block := self.rfile.read(min(_BLOCK, length - len(content)))):
            content += block
        return bytes(content)

    def _answer(self, body: bool) -> None:
        if not self._allowed():
            return self._respond(HTTPStatus.FORBIDDEN, "unknown host or cross-site request")
        if "Transfer-Encoding" in self.headers or self.headers.get("Content-Length", "0") != "0":
            return self._respond(HTTPStatus.BAD_REQUEST, "expected no body")
        if self.path in self.server.site.states:
            return self._reply(*answered(self.server.site.states[self.path]))
        try:
            path = find_file(self.path, self.server.site.page, self.server.site.served)
        except ValueError:
            return self._respond(HTTPStatus.BAD_REQUEST, "expected the path of a file")
        try:
            if path is None:
                raise FileNotFoundError
            with path.open("rb") as file:
                return self._send_file(file, kind_of(path), body)
        except (FileNotFoundError, PermissionError):
            return self._respond(HTTPStatus.NOT_FOUND, "no such file")

    def _send_file(self, file: BinaryIO, kind: str, body: bool) -> None:
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
        self._end_headers_of(kind, stop - start)
        if body:
            self._send(file, start, stop)
        return None

    def _end_headers_of(self, kind: str, length: int) -> None:
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
        except (ConnectionError, TimeoutError):  # players disconnect after each range
            self.close_connection = True
        self.close_connection |= start < stop  # the file was truncated: fewer bytes than announced

    def _respond(self, status: HTTPStatus, message: str) -> None:
        """Send a JSON message and close the connection, so that an unread body is not parsed as the next request."""
        self._reply(status, {"message": message})

    def _reply(self, status: HTTPStatus, answer: Mapping[str, Any]) -> None:
        content = json_text(answer).encode()
        self.send_response(status)
        self.send_header("Connection", "close")
        self._end_headers_of("application/json", len(content))
        self.close_connection = True
        if self.command != "HEAD":
            self.wfile.write(content)

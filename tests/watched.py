"""Watches a whole process, and those that it starts: installed as `sitecustomize`, it writes down what they do.

AVLOC_WATCH names the file of what was seen, one JSON list [event, ...] a line: every use of a network, which is also
refused, every program started, every path opened for writing, made, renamed or removed, and every source text compiled
that holds AVLOC_MARK.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import Any

_NET = {"socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg"}
_NAMES = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "urllib.Request", "http.client.connect"}
_STARTS = {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "pty.spawn", "subprocess.Popen"}
_PATHS = {"os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "os.symlink", "os.link", "os.rename"}
_ALL = _NET | _NAMES | _STARTS | _PATHS | {"open", "compile"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _text(value: Any) -> str:
    return os.fsdecode(value) if isinstance(value, str | bytes | os.PathLike) else repr(value)


def _seen(event: str, args: tuple[Any, ...], mark: bytes) -> list[str] | None:
    if event in _NET:
        return [event, repr(args[1:])] if args[0].family in (socket.AF_INET, socket.AF_INET6) else None
    if event in _NAMES:
        return [event, repr(args)]
    if event in _STARTS:
        return [event, json.dumps([_text(word) for word in args[1]] if event == "subprocess.Popen" else repr(args))]
    if event in _PATHS:
        ends = args[:2] if event in ("os.rename", "os.link", "os.symlink") else args[:1]
        return [event, *(os.path.abspath(_text(end)) for end in ends)]
    if event == "open" and not isinstance(args[0], int) and isinstance(args[2], int) and args[2] & _WRITES:
        return [event, os.path.abspath(_text(args[0]))]
    if event == "compile" and isinstance(args[0], str | bytes):
        source = args[0].encode("utf-8", "surrogatepass") if isinstance(args[0], str) else args[0]
        return [event, repr(source[:200])] if mark in source else None
    return None


def _install() -> None:
    log = os.open(os.environ["AVLOC_WATCH"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    mark = os.environ["AVLOC_MARK"].encode()

    def hook(event: str, args: tuple[Any, ...]) -> None:
        seen = _seen(event, args, mark) if event in _ALL else None
        if seen is not None:
            os.write(log, (json.dumps(seen) + "\n").encode())
            if event in _NET | _NAMES:
                raise PermissionError(f"no network: {event} {args[1:]!r}")

    sys.addaudithook(hook)


if __name__ == "sitecustomize":
    _install()

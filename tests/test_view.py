"""`avloc view`: byte ranges, no files outside the page, no cross-site requests."""

from __future__ import annotations

import errno
import http.client
import json
import os
import resource
import socket
import threading
import time

import pytest

from avloc.errors import FormatError, InputError
from avloc.formats.annotations import read_annotations
from avloc.report.serve import HOST, PageServer, find_file, save_corrections, server
from avloc.system import atomic

TRUTH = {"database": {"dog": {"duration": 9.0, "annotations": [{"label": "bark", "segment": [1.0, 2.5]}]}}}


@pytest.fixture
def site(tmp_path):
    page = tmp_path / "page"
    (page / "data").mkdir(parents=True)
    (page / "index.html").write_text("<p>hello")
    (page / "data" / "index.js").write_text("x")
    (page / ".hidden").write_text("x")
    (tmp_path / "secret.txt").write_text("secret")
    (page / "link.txt").symlink_to(tmp_path / "secret.txt")
    (page / "folder").symlink_to(tmp_path)
    (page / "circle").symlink_to(page / "circle")
    (tmp_path / "film.mp4").write_bytes(bytes(range(256)) * 4)
    server = PageServer(page, {"media/v0001.mp4": tmp_path / "film.mp4"}, tmp_path / "corrections.json")
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield server
    server.close()
    thread.join(5)


def ask(site, method, path, headers=None, body=None):
    connection = http.client.HTTPConnection(HOST, site.port, timeout=5)
    connection.putrequest(method, path, skip_host=bool(headers and "Host" in headers))
    for key, value in {**(headers or {}), **({"Content-Length": str(len(body))} if body else {})}.items():
        connection.putheader(key, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), content


def test_it_listens_on_loopback_only(site):
    assert site._server.server_address[0] == "127.0.0.1"
    assert site.url == f"http://127.0.0.1:{site.port}/"


def test_pages_and_kinds(site):
    assert ask(site, "GET", "/")[2] == b"<p>hello"
    status, headers, content = ask(site, "GET", "/data/index.js?x=1")
    assert (status, content) == (200, b"x")
    assert headers["Content-Type"] == "text/javascript"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert ask(site, "HEAD", "/media/v0001.mp4")[1]["Content-Length"] == "1024"


@pytest.mark.parametrize(
    ("header", "status", "span"),
    [
        ("bytes=0-", 206, (0, 1024)),
        ("bytes=100-199", 206, (100, 200)),
        ("bytes=1000-9999", 206, (1000, 1024)),
        ("bytes=-24", 206, (1000, 1024)),
        ("bytes=0-0", 206, (0, 1)),
        ("bytes=0-1,5-6", 200, (0, 1024)),  # several ranges: the whole file may be sent
        ("lines=1-2", 200, (0, 1024)),
        ("bytes=0-" + "9" * 5000, 206, (0, 1024)),
        ("bytes=-" + "9" * 5000, 206, (0, 1024)),
        ("bytes=" + "9" * 5000 + "-", 416, None),
        ("bytes=1-²", 200, (0, 1024)),
        ("bytes=1024-", 416, None),
        ("bytes=5-2", 416, None),
        ("bytes=-0", 416, None),
    ],
)
def test_ranges(site, header, status, span):
    whole = bytes(range(256)) * 4
    got, headers, content = ask(site, "GET", "/media/v0001.mp4", {"Range": header})
    assert got == status
    if span is None:
        assert headers["Content-Range"] == "bytes */1024"
        return
    assert content == whole[slice(*span)]
    if status == 206:
        assert headers["Content-Range"] == f"bytes {span[0]}-{span[1] - 1}/1024"


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/data/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e%2fsecret.txt",
        "/..%5csecret.txt",
        "/....//secret.txt",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/c:/windows",
        "/link.txt",  # a symlink out of the page
        "/.hidden",
        "/data",
        "/data/",
        "/index.html%00.js",
        "/media/../media/v0001.mp4",
        "/corrections",
        "/%252e%252e/secret.txt",
        "/%c0%ae%c0%ae/secret.txt",
        "/media/v0001.mp4/../../secret.txt",
        "/" + "a" * 5000,
        "/folder/secret.txt",  # a symlinked folder
        "/circle",  # symlinks that lead in a circle
        "/circle/secret.txt",
    ],
)
def test_nothing_outside_the_page(site, path):
    status, _, content = ask(site, "GET", path)
    assert status == 404
    assert b"secret" not in content
    assert find_file(path, site.page, site.served) is None


def test_a_foreign_name_for_us_is_refused(site):
    """DNS rebinding: a foreign host name that resolves to 127.0.0.1."""
    assert ask(site, "GET", "/", {"Host": "evil.example"})[0] == 403
    assert ask(site, "GET", "/", {"Host": f"localhost:{site.port}"})[0] == 200


def test_corrections_are_written_and_merged(site):
    good = {"Origin": site.url.rstrip("/"), "Content-Type": "application/json"}
    status, _, content = ask(site, "POST", "/corrections", good, json.dumps(TRUTH).encode())
    assert (status, "1 video saved" in json.loads(content)["message"]) == (200, True)
    other = json.dumps(TRUTH).replace("dog", "cat").encode()
    assert ask(site, "POST", "/corrections", good, other)[0] == 200
    annotations, _ = read_annotations(site.corrections)
    assert {a.video_id: len(a.instances) for a in annotations} == {"dog": 1, "cat": 1}
    cleared = json.loads(json.dumps(TRUTH))
    cleared["database"]["dog"]["annotations"] = []
    assert ask(site, "POST", "/corrections", good, json.dumps(cleared).encode())[0] == 200  # the later one counts
    annotations, _ = read_annotations(site.corrections)
    assert {a.video_id: len(a.instances) for a in annotations} == {"dog": 0, "cat": 1}


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Origin": "http://evil.example"}, b"{}", 403),
        ({"Origin": "null"}, b"{}", 403),
        ({}, b"{}", 403),
        ({"Origin": "OURS", "Content-Type": "text/plain"}, b"{}", 400),
        ({"Origin": "OURS"}, b"{}", 400),
        ({"Origin": "OURS"}, b"nonsense", 400),
        ({"Origin": "OURS"}, b'{"database": {"x": {"duration": -1}}}', 400),
    ],
)
def test_only_the_page_may_write_and_only_ground_truth(site, headers, body, status):
    sent = {"Content-Type": "application/json", **headers}
    if sent.get("Origin") == "OURS":
        sent["Origin"] = site.url.rstrip("/")
    assert ask(site, "POST", "/corrections", sent, body)[0] == status
    assert not site.corrections.exists()
    assert ask(site, "POST", "/index.html", {**sent, "Origin": site.url.rstrip("/")}, body)[0] in (400, 404)


STRICT = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/", {}),
        ("HEAD", "/data/index.js", {}),
        ("GET", "/media/v0001.mp4", {"Range": "bytes=0-9"}),
        ("GET", "/media/v0001.mp4", {"Range": "bytes=9999-"}),
        ("GET", "/nothing", {}),
        ("GET", "/", {"Host": "evil.example"}),
        ("POST", "/corrections", {}),
        ("OPTIONS", "/corrections", {"Origin": "http://evil.example"}),
        ("DELETE", "/", {}),
    ],
)
def test_every_answer_is_strict(site, method, path, headers):
    _, got, _ = ask(site, method, path, headers)
    assert got.items() >= STRICT.items()
    rules = dict(rule.split(" ", 1) for rule in got["Content-Security-Policy"].split("; "))
    assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == "'none'"
    assert rules["script-src"] == "'self'"
    assert "unsafe" not in got["Content-Security-Policy"]
    assert not [name for name in got if name.lower().startswith("access-control")]
    assert got["Server"].strip() == "avloc"


def test_what_a_video_calls_itself_makes_it_neither_page_nor_script(site, tmp_path):
    for name in ("x.html", "x.js.svg", "x.xhtml", "x", "x.wasm"):
        (site.page / name).write_bytes(b"<script>1</script>")
        site.served[f"media/{name}"] = tmp_path / "film.mp4"
    for name in ("x.js.svg", "x.xhtml", "x", "x.wasm"):
        assert ask(site, "GET", f"/{name}")[1]["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}, 200),
        ("GET", {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}, 403),
        ("GET", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}, 403),
        ("POST", {"Sec-Fetch-Site": "same-origin"}, 200),
        ("POST", {"Sec-Fetch-Site": "same-site"}, 403),
        ("POST", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("POST", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 403),
    ],
)
def test_other_pages_get_nothing(site, method, headers, status):
    """Otherwise their scripts could read the list of videos, which is a script, or post a form."""
    if method == "GET":
        assert ask(site, "GET", "/data/index.js", headers)[0] == status
        return
    sent = {"Origin": site.url.rstrip("/"), "Content-Type": "application/json", **headers}
    assert ask(site, "POST", "/corrections", sent, json.dumps(TRUTH).encode())[0] == status
    assert site.corrections.exists() == (status == 200)


def test_a_page_opened_as_localhost_may_write_and_no_mixture_of_names(site):
    sent = {"Host": f"localhost:{site.port}", "Content-Type": "application/json"}
    body = json.dumps(TRUTH).encode()
    assert ask(site, "POST", "/corrections", {**sent, "Origin": f"http://localhost:{site.port}"}, body)[0] == 200
    assert ask(site, "POST", "/corrections", {**sent, "Origin": f"http://{HOST}:{site.port}"}, body)[0] == 403
    assert ask(site, "POST", "/corrections", {**sent, "Origin": f"http://localhost:{site.port + 1}"}, body)[0] == 403


def raw(site, request, wait_s=5.0):
    """The response to raw bytes, until the server closes the connection."""
    with socket.create_connection((HOST, site.port), timeout=wait_s) as connection:
        connection.sendall(request)
        answer = b""
        while block := connection.recv(1 << 16):
            answer += block
        return answer


def posted(site, *headers):
    lines = ["POST /corrections HTTP/1.1", f"Host: {HOST}:{site.port}", f"Origin: http://{HOST}:{site.port}"]
    return "\r\n".join([*lines, "Content-Type: application/json", *headers, "", ""]).encode()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ((), 411),
        (("Transfer-Encoding: chunked",), 411),
        (("Transfer-Encoding: chunked", "Content-Length: 5"), 411),
        (("Content-Length: -1",), 400),
        (("Content-Length: five",), 400),
        (("Content-Length: 1e3",), 400),
        (("Content-Length: +5",), 400),
        (("Content-Length: 5_0",), 400),
        (("Content-Length: ",), 400),
        (("Content-Length: 5", "Content-Length: 6"), 400),
        (("Content-Length: 67108865",), 413),
        (("Content-Length: 99999999999999999999999",), 413),
        (("Content-Length: " + "9" * 5000,), 413),
        (("Content-Length: 0",), 400),
    ],
)
def test_lengths_that_are_none_are_refused_before_anything_is_read(site, headers, status):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = raw(site, posted(site, *headers))
    assert int(answer.split()[1]) == status
    assert len(json.loads(answer.rpartition(b"\r\n\r\n")[2])["message"].splitlines()) == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16_000
    assert not site.corrections.exists()


def test_a_body_that_breaks_off_is_not_saved(site):
    body = json.dumps(TRUTH).encode()
    with socket.create_connection((HOST, site.port), timeout=5) as connection:
        connection.sendall(posted(site, f"Content-Length: {len(body) + 1}") + body)
        connection.shutdown(socket.SHUT_WR)
        assert b" 400 " in connection.recv(1 << 16).splitlines()[0]
    assert not site.corrections.exists()


def test_two_names_of_the_host_are_none(site):
    request = f"GET / HTTP/1.1\r\nHost: {HOST}:{site.port}\r\nHost: evil.example\r\n\r\n"
    assert b" 403 " in raw(site, request.encode()).splitlines()[0]


def test_what_follows_a_request_is_not_taken_for_the_next_one(site):
    hidden = posted(site, "Content-Length: 2") + b"{}"
    request = f"GET / HTTP/1.1\r\nHost: {HOST}:{site.port}\r\nContent-Length: {len(hidden)}\r\n\r\n".encode()
    answer = raw(site, request + hidden)
    assert answer.count(b"HTTP/1.1") == 1
    assert b" 400 " in answer.splitlines()[0]


@pytest.mark.parametrize("begin", ["", "GET / HT", "GET / HTTP/1.1\r\nX: ", "POST"])
def test_a_client_that_dawdles_is_let_go(site, monkeypatch, begin):
    """It sends single bytes forever."""
    monkeypatch.setattr(server, "_REQUEST_TIMEOUT_S", 0.6)
    start = posted(site, "Content-Length: 1000") if begin == "POST" else begin.encode()
    began = time.monotonic()
    with socket.create_connection((HOST, site.port), timeout=5) as connection:
        connection.sendall(start)
        connection.settimeout(0.05)
        while time.monotonic() - began < 4:
            try:
                connection.sendall(b"x")
                if connection.recv(1 << 16) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    assert 0.4 < time.monotonic() - began < 3
    assert ask(site, "GET", "/")[0] == 200
    assert not site.corrections.exists()


def test_a_client_that_reads_nothing_is_let_go(site, monkeypatch, tmp_path):
    monkeypatch.setattr(server, "_SEND_TIMEOUT_S", 0.3)
    with (tmp_path / "film.mp4").open("wb") as film:
        film.truncate(64 << 20)
    with socket.create_connection((HOST, site.port), timeout=5) as connection:
        connection.sendall(f"GET /media/v0001.mp4 HTTP/1.1\r\nHost: {HOST}:{site.port}\r\n\r\n".encode())
        time.sleep(1)
        taken = 0
        while block := connection.recv(1 << 20):
            taken += len(block)
    assert taken < 64 << 20


def test_a_crowd_of_clients_is_sent_away(site):
    site._server._free = threading.BoundedSemaphore(4)
    crowd = [socket.create_connection((HOST, site.port), timeout=5) for _ in range(10)]
    sent_away = [connection for connection in crowd[4:] if connection.recv(1) == b""]
    assert len(sent_away) == 6
    for connection in crowd:
        connection.close()
    time.sleep(0.2)
    assert ask(site, "GET", "/")[0] == 200


def test_a_video_that_shrinks_meanwhile_ends_the_connection(site, tmp_path, monkeypatch):
    monkeypatch.setattr(server.os, "fstat", lambda fd: type("Facts", (), {"st_size": 2048})())
    answer = raw(site, f"GET /media/v0001.mp4 HTTP/1.1\r\nHost: {HOST}:{site.port}\r\n\r\n".encode())
    assert b"Content-Length: 2048" in answer
    assert len(answer.partition(b"\r\n\r\n")[2]) == 1024


def test_posts_at_once_lose_nothing(site):
    good = {"Origin": site.url.rstrip("/"), "Content-Type": "application/json"}

    def send(k):
        ask(site, "POST", "/corrections", good, json.dumps(TRUTH).replace("dog", f"dog{k}").encode())

    threads = [threading.Thread(target=send, args=(k,)) for k in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_annotations(site.corrections)[0]) == 12


def test_a_taken_port_says_so(site, tmp_path):
    with pytest.raises(InputError, match="choose another --port"):
        PageServer(tmp_path, port=site.port)


def test_saving_refuses_what_is_no_truth(tmp_path):
    with pytest.raises(FormatError):
        save_corrections(b"[]", tmp_path / "c.json")


def request(site, *lines, version="HTTP/1.1"):
    head = [f"GET / {version}", f"Host: {HOST}:{site.port}", *lines]
    return ("\r\n".join(head) + "\r\n\r\n").encode("latin-1")


HIDDEN = b"GET /data/index.js HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length : 44"],
        ["Content-Length: 44"],
        ["Content-Length: 0", "Content-Length: 44"],
        ["Content-Length: 0", "Content-Length: 0"],
        ["Content-Length: +0"],
        ["Transfer-Encoding: chunked"],
        ["Transfer-Encoding : chunked"],
        ["X: a\rContent-Length: 44"],
        ["X: a\0b"],
        ["Sec-Fetch-Site: none", "Sec-Fetch-Site: cross-site"],
        ["Sec-Fetch-Mode: navigate", "Sec-Fetch-Mode: cors"],
        ["X: a", " folded: b"],
        ["X: a\r\n\nGET /data/index.js HTTP/1.1"],  # a line end alone is no end of the head
        ["no colon"],
        [": no name"],
        ["Ü: x"],
    ],
)
def test_headers_that_two_programs_would_read_differently(site, lines):
    answer = raw(site, request(site, *lines) + HIDDEN)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1  # closed: what follows is not the next request


@pytest.mark.parametrize(
    "line",
    [
        "GET /",  # HTTP/0.9
        "GET / HTTP/0.9",
        "GET / HTTP/2.0",
        "GET / HTTP/1.1 HTTP/1.1",
        "GET http://[::1 HTTP/1.1",
        "GET http://127.0.0.1/ HTTP/1.1",
        "GET //[x HTTP/1.1",
        "GET * HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET /\t HTTP/1.1",
        "GET /ü HTTP/1.1",
        "get / HTTP/1.1",
        "\x16\x03\x01\x02",  # TLS
    ],
)
def test_request_lines_that_are_none(site, line, capsys):
    answer = raw(site, f"{line}\r\nHost: {HOST}:{site.port}\r\n\r\n".encode() + HIDDEN)
    assert answer.split(b" ")[1] in (b"400", b"404")
    assert answer.count(b"HTTP/1.1 ") == 1 or line == "GET //[x HTTP/1.1"
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 200 + b"\r\n", b"431"),
    ],
)
def test_heads_that_are_huge(site, head, status):
    assert raw(site, head).split(b" ")[1] == status


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [(errno.ENOSPC, 507, "No space left"), (errno.EROFS, 507, "Read-only"), (errno.EACCES, 500, "Permission denied")],
)
def test_a_save_that_fails_is_said_and_logged(site, monkeypatch, caplog, code, status, words):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(atomic.os, "fsync", fail)
    sent = {"Origin": site.url.rstrip("/"), "Content-Type": "application/json"}
    got, _, content = ask(site, "POST", "/corrections", sent, json.dumps(TRUTH).encode())
    assert got == status
    assert "not saved" in json.loads(content)["message"]
    assert words in json.loads(content)["message"]
    assert any(words in record.message and "not saved" in record.message for record in caplog.records)
    assert not site.corrections.exists()
    monkeypatch.undo()
    assert ask(site, "POST", "/corrections", sent, json.dumps(TRUTH).encode())[0] == 200


def test_a_head_that_breaks_off_is_no_request(site):
    """What decides about it, such as Sec-Fetch-Site, may be missing."""
    with socket.create_connection((HOST, site.port), timeout=5) as connection:
        connection.sendall(request(site).removesuffix(b"\r\n"))
        connection.shutdown(socket.SHUT_WR)
        assert b" 400 " in connection.recv(1 << 16).splitlines()[0]


def test_the_port_that_browsers_leave_out(site):
    def status(host):
        return raw(site, f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()).split(b" ")[1]

    assert [status(host) for host in (HOST, "localhost", f"{HOST}:80")] == [b"403"] * 3
    true_port = site.port
    names = (HOST, "localhost", f"{HOST}:80", f"{HOST}:{true_port}", f"{HOST}.", f"localhost.:{true_port}", "[::1]", "")
    site.port, connect = 80, socket.create_connection
    try:
        socket.create_connection = lambda address, timeout: connect((HOST, true_port), timeout=timeout)
        assert [status(host) for host in names] == [b"200"] * 3 + [b"403"] * 5
    finally:
        site.port, socket.create_connection = true_port, connect


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken disk"), ValueError("a bug")])
def test_work_that_fails_is_answered(site, error, caplog):
    """Without an answer, the page would take the server for gone."""

    def fail(*_):
        raise error

    site.actions["/corrections"] = site.states["/saved"] = fail
    sent = {"Origin": site.url.rstrip("/"), "Content-Type": "application/json"}
    for method, path, body in (("GET", "/saved", None), ("POST", "/corrections", b"{}")):
        status, _, content = ask(site, method, path, sent, body)
        assert (status, str(error) in json.loads(content)["message"]) == (500, True)
    assert len(caplog.records) == 2

"""`avloc view`: ranges for large videos, nothing outside the page, nothing from other pages."""

from __future__ import annotations

import http.client
import json
import threading

import pytest

from avloc.errors import FormatError, InputError
from avloc.formats import read_annotations
from avloc.serving import HOST, PageServer, find_file, save_corrections

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
        ("bytes=0-1,5-6", 200, (0, 1024)),  # several parts may be answered with the whole
        ("lines=1-2", 200, (0, 1024)),
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
        "/link.txt",  # a link that leads out
        "/.hidden",
        "/data",
        "/data/",
        "/index.html%00.js",
        "/media/../media/v0001.mp4",
        "/corrections",
    ],
)
def test_nothing_outside_the_page(site, path):
    status, _, content = ask(site, "GET", path)
    assert status == 404
    assert b"secret" not in content
    assert find_file(path, site.page, site.served) is None


def test_a_foreign_name_for_us_is_refused(site):
    """DNS rebinding: a page elsewhere whose name resolves to 127.0.0.1."""
    assert ask(site, "GET", "/", {"Host": "evil.example"})[0] == 403
    assert ask(site, "GET", "/", {"Host": f"localhost:{site.port}"})[0] == 200


def test_corrections_are_written_and_merged(site):
    good = {"Origin": site.url.rstrip("/"), "Content-Type": "application/json"}
    status, _, content = ask(site, "POST", "/corrections", good, json.dumps(TRUTH).encode())
    assert (status, "1 videos are saved" in json.loads(content)["message"]) == (200, True)
    other = json.dumps(TRUTH).replace("dog", "cat").encode()
    assert ask(site, "POST", "/corrections", good, other)[0] == 200
    annotations, _ = read_annotations(site.corrections)
    assert {a.video_id: len(a.instances) for a in annotations} == {"dog": 1, "cat": 1}


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


def test_a_taken_port_says_so(site, tmp_path):
    with pytest.raises(InputError, match="choose another --port"):
        PageServer(tmp_path, port=site.port)


def test_saving_refuses_what_is_no_truth(tmp_path):
    with pytest.raises(FormatError):
        save_corrections(b"[]", tmp_path / "c.json")

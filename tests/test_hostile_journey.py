"""Videos with hostile names through every command, audited: no command run, no network access, no write outside the
output folder; each video works or fails with one line.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import pytest

import odd_media as odd
import watched
from avloc.errors import MediaError
from avloc.media.probe import probe

MARK = "touch pwned"
GOOD = [
    *(
        "-rf",
        "--help",
        f"$({MARK})",
        f"; {MARK}; `{MARK}`",
        "new\nline\r",
        "tab\t\x1b[2Jclear",
        "=1+1",
        "CON",
        "linked",
    ),
    *("<script>'\"-->", "concat:a|b%03d", "%2e%2e%2fx", "c" * 230, "é" * 115),
]
"""Stems of valid videos."""

TOO_LONG = "n" * 251
NO_TEXT = os.fsdecode(b"caf\xe9")
BAD = ["hls", "list", "session", "dash", "secret", TOO_LONG, NO_TEXT]

DRIVER = """
import json, sys
from avloc.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["avloc", *words]
    print("CALL", words[0], flush=True)
    print("CALL", words[0], file=sys.stderr, flush=True)
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code or 0
    print("CODE", code, flush=True)
"""


class Door:
    """A local port that counts connections and closes them at once."""

    def __init__(self) -> None:
        self.port = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.port.getsockname()[1]}"
        self.knocks = 0
        self.keeper = threading.Thread(target=self._open, daemon=True)
        self.keeper.start()

    def _open(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                guest, _ = self.port.accept()
                self.knocks += 1
                guest.close()

    def close(self) -> None:
        self.port.shutdown(socket.SHUT_RDWR)
        self.keeper.join(5)
        self.port.close()


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with contextlib.closing(Door()) as door:
        yield door


@dataclass
class Journey:
    """Traces of an audited run of all commands.

    Args:
        seen: [event, ...] as `watched` writes them.
        said: {command: its stdout and stderr}. codes: {command: exit code}.
    """

    home: Path
    door: Door
    seen: list[list[str]] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        return self.home / "out"

    def paths(self) -> set[str]:
        """All files outside the output folder."""
        return {str(p) for p in self.home.rglob("*") if not p.is_relative_to(self.out)}


def lures(folder: Path, address: str) -> None:
    """Playlists and manifests, named as videos, that refer to a URL."""
    url = f"http://{address}/a.ts"
    (folder / "hls.mp4").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n")
    (folder / "list.mp4").write_text(f"ffconcat version 1.0\nfile '{url}'\n")
    (folder / "session.mp4").write_text(
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        f"m=video {address.rpartition(':')[2]} RTP/AVP 96\n"
    )
    (folder / "dash.mp4").write_text(
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" mediaPresentationDuration="PT5S"><Period>'
        f'<AdaptationSet mimeType="video/mp4"><Representation id="1"><BaseURL>{url}</BaseURL></Representation>'
        "</AdaptationSet></Period></MPD>"
    )


def external(source: Path, target: Path, url: str) -> None:
    """A copy of an mp4 whose video track refers to a URL (its data reference)."""
    data = source.read_bytes()
    entry = b"url " + bytes(4) + url.encode() + b"\0"
    at = data.index(b"url \0\0\0\1") - 4
    data = data[:at] + (len(entry) + 4).to_bytes(4, "big") + entry + data[at + 12 :]
    for name in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        place = data.rindex(name, 0, at) - 4
        size = int.from_bytes(data[place : place + 4], "big") + len(entry) - 8
        data = data[:place] + size.to_bytes(4, "big") + data[place + 4 :]
    target.write_bytes(data)


def make_world(home: Path, address: str) -> None:
    videos, elsewhere = home / "videos", home / "elsewhere"
    videos.mkdir()
    elsewhere.mkdir()
    film = odd.write_video(
        elsewhere / "film.mp4", odd.grey_frames(30, white=range(10, 20)), codec="libx264", sound_codec="aac",
        sound=odd.clicks(3, 16000, [1.2]),
    )  # fmt: skip
    (elsewhere / "secret.txt").write_text("secret\n" * 1000)
    (videos / "linked.mp4").symlink_to(film)
    (videos / "secret.mp4").symlink_to(elsewhere / "secret.txt")
    (videos / "dangling.mp4").symlink_to(elsewhere / "nothing")
    (videos / "loop.mp4").symlink_to(videos / "loop.mp4")
    for name in [*GOOD, TOO_LONG, NO_TEXT]:
        if name != "linked":
            shutil.copy(film, videos / f"{name}.mp4")
    lures(videos, address)
    for name in (
        "struct",
        "pickle",
        "numpy",
        "torch",
        "avloc",
        "usercustomize",
    ):  # as in an unpacked archive
        (videos / f"{name}.py").write_text("open('pwned', 'w')\nraise SystemExit('pwned')\n")
    labels = [(name, f"$({MARK})" if k % 2 else "<script>") for k, name in enumerate(GOOD)]
    with (home / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("video", "labels"), *labels])
    truth = {n: {"duration": 3.0, "annotations": [{"label": w, "segment": [1.0, 2.0]}]} for n, w in labels}
    (home / "truth.json").write_text(json.dumps({"database": truth}))


SMALL = ["--set", "train.steps=2", "--set", "train.eval_every=2", "--set", "model.embed_dim=8"]
CALLS = [
    ["extract", ".", "-o", "../out/features", "--visual", "appearance", "--audio", "logmel"],
    ["train", "--features", "../out/features", "--labels", "../labels.csv", "-o", "../out/run", *SMALL],
    ["localize", "../out/run", ".", "-o", "../out/found", "-f", "all"],
    ["evaluate", "../out/found", "../truth.json"],
    ["report", "../out/found", "-o", "../out/page", "--ground-truth", "../truth.json", "--copy-media"],
]


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory, door: Door) -> Journey:
    home = tmp_path_factory.mktemp("journey")
    make_world(home, door.address)
    for name in ("site", "home", "tmp"):
        (home / name).mkdir()
    shutil.copy(watched.__file__, home / "site" / "sitecustomize.py")
    trip = Journey(home, door)
    before = trip.paths()
    done = subprocess.run(
        [sys.executable, "-P", "-c", DRIVER, json.dumps(CALLS)],
        cwd=home / "videos",
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(home / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "AVLOC_WATCH": str(home / "site" / "seen"),
            "AVLOC_MARK": MARK,
            "HOME": str(home / "home"),
            "TMPDIR": str(home / "tmp"),
            "TORCHINDUCTOR_CACHE_DIR": str(home / "tmp" / "inductor"),  # else torch reuses one of another TMPDIR
        },
        capture_output=True,
        timeout=300,
    )
    said, errors = done.stdout.decode(), done.stderr.decode()
    trip.codes = {c: int(n) for c, n in re.findall(r"^CALL (\w+)$.*?^CODE (\d+)$", said, re.DOTALL | re.MULTILINE)}
    for text in (said, errors):
        for command, words in re.findall(r"^CALL (\w+)\n(.*?)(?=^CALL|\Z)", text, re.DOTALL | re.MULTILINE):
            trip.said[command] = trip.said.get(command, "") + words
    trip.seen = [json.loads(line) for line in (home / "site" / "seen").read_text().splitlines()]
    private = {str(p) for name in ("home", "tmp", "site") for p in (home / name).rglob("*")}
    assert trip.paths() - private == before - private, errors
    return trip


def test_every_command_did_its_work(journey: Journey) -> None:
    expected = {"extract": 3, "localize": 3} | dict.fromkeys(("train", "evaluate", "report"), 0)
    assert journey.codes == expected, journey.said
    assert "Traceback" not in "".join(journey.said.values())
    assert "internal error" not in "".join(journey.said.values())


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("folder", ["features", "found"])
def test_each_video_works_or_costs_itself_one_line(journey: Journey, folder: str) -> None:
    failures = {row["video"]: row["reason"] for row in rows(journey.out / folder / "failures.csv")}
    assert set(failures) == {*BAD, "caf\\xe9"} - {NO_TEXT}
    assert all(len(reason.splitlines()) == 1 and "secret\\n" not in reason for reason in failures.values())
    assert "a file name at most 255: rename the video" in failures[TOO_LONG]
    assert "name is not UTF-8" in failures["caf\\xe9"]
    stem = {p.name.removesuffix(".safetensors") for p in (journey.out / "features").glob("*.safetensors")}
    scored = {p.name.removesuffix(".safetensors") for p in (journey.out / "found" / "scores").iterdir()}
    assert stem == scored == set(GOOD)
    assert [row["video"] for row in rows(journey.out / "found" / "videos.csv")] == sorted(GOOD)


def test_every_export_has_a_file_for_every_video(journey: Journey) -> None:
    files = [p.name for p in (journey.out / "found" / "per-video").iterdir()]
    assert len([name for name in files if name.endswith(".vtt")]) == len(GOOD)
    assert len(list((journey.out / "page" / "media").iterdir())) == len(GOOD)
    assert {"-rf.vtt", "--help.vtt", "linked.vtt"} <= set(files)
    for path in journey.out.rglob("*"):
        assert path.resolve().is_relative_to(journey.out)
        if not path.is_relative_to(journey.out / "features") and not path.is_relative_to(
            journey.out / "found" / "scores"
        ):
            assert path.name.isprintable(), path


def test_nothing_is_printed_that_a_terminal_obeys(journey: Journey) -> None:
    for command, said in journey.said.items():
        assert not {c for c in said if not c.isprintable()} - {"\n"}, command


def test_no_network_is_asked_for(journey: Journey) -> None:
    assert [line for line in journey.seen if line[0].startswith(("socket.", "urllib.", "http."))] == []
    assert journey.door.knocks == 0


def test_no_program_is_started_but_our_own_workers(journey: Journey) -> None:
    started = [line for line in journey.seen if line[0] in watched._STARTS]
    assert {line[0] for line in started} == {"subprocess.Popen"}
    for line in started:
        words = json.loads(line[1])
        ours = words[:2] == [sys.executable, "-c"] and words[2].startswith("import sys; sys.path[:] = sys.argv[1:]")
        assert ours or words == ["git", "rev-parse", "HEAD"], words
        assert not any(str(journey.home / "videos") in word or word == "" for word in words)
    assert any(json.loads(line[1])[0] == sys.executable for line in started)


def test_no_name_is_compiled_or_run(journey: Journey) -> None:
    assert [line for line in journey.seen if line[0] == "compile"] == []
    assert not list(journey.home.rglob("pwned"))


def test_nothing_is_written_elsewhere(journey: Journey) -> None:
    allowed = [journey.out, journey.home / "tmp", journey.home / "home", Path("/dev")]
    touched = [(line[0], Path(p)) for line in journey.seen if line[0] in watched._PATHS | {"open"} for p in line[1:]]
    assert [(e, p) for e, p in touched if not any(p.is_relative_to(a) for a in allowed)] == []
    assert any(p.is_relative_to(journey.out / "page") for _, p in touched)


def test_the_watch_sees_what_it_is_for(tmp_path: Path) -> None:
    """In child processes too."""
    (tmp_path / "sitecustomize.py").write_text(Path(watched.__file__).read_text())
    code = (
        "import os, socket, subprocess, sys\n"
        "try: socket.socket().connect(('127.0.0.1', 9))\nexcept PermissionError: print('refused')\n"
        "try: socket.getaddrinfo('localhost', 80)\nexcept PermissionError: print('refused')\n"
        "eval(compile(\"'touch pwned'\", 'x', 'eval'))\n"
        "os.system('true'); open('made', 'w').close(); os.rename('made', 'moved')\n"
        "if len(sys.argv) == 1: subprocess.run([sys.executable, '-c', 'open(\"child\", \"w\")'])\n"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "AVLOC_WATCH": str(tmp_path / "seen"), "AVLOC_MARK": MARK}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stdout.split() == ["refused", "refused"], done.stderr
    seen = [json.loads(line) for line in (tmp_path / "seen").read_text().splitlines()]
    names = {line[0] for line in seen}
    assert {"socket.connect", "socket.getaddrinfo", "compile", "os.system", "os.rename", "subprocess.Popen"} <= names
    assert {"made", "child"} <= {Path(line[1]).name for line in seen if line[0] == "open"}


@pytest.mark.parametrize("name", ["hls", "list", "session", "dash", "external"])
def test_what_names_an_address_asks_for_nothing(name: str, tmp_path: Path) -> None:
    with contextlib.closing(Door()) as door:
        lures(tmp_path, door.address)
        film = odd.write_video(tmp_path / "film.mp4", odd.grey_frames(10), codec="libx264")
        external(film, tmp_path / "external.mp4", f"http://{door.address}/a.mp4")
        if name == "external":
            assert b"http://" in (tmp_path / "external.mp4").read_bytes()
            assert probe(tmp_path / "external.mp4").duration_s == 1.0  # its own data are read
        else:
            with contextlib.suppress(MediaError):
                probe(tmp_path / f"{name}.mp4")
        time.sleep(0.1)
        assert door.knocks == 0


def test_ffmpeg_would_knock_if_it_were_let(tmp_path: Path) -> None:
    with contextlib.closing(Door()) as door:
        lures(tmp_path, door.address)
        free = {"safe": "0", "protocol_whitelist": "file,http,tcp"}
        with pytest.raises(av.FFmpegError):
            av.open(str(tmp_path / "list.mp4"), options=free, timeout=5)
        assert door.knocks > 0

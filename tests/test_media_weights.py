"""Weight files: found, downloaded from a local server, verified, and read without executing pickled code."""

from __future__ import annotations

import hashlib
import pickle
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from avloc.errors import InputError
from avloc.features.backbones import Setup, card, load_backbone, status
from avloc.features.weights import WeightFile, cache_folder, digest, find, load_into, read_state, resolve


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path != "/broken.pth":
            super().do_GET()
            return
        self.send_response(200)  # announces more bytes than it sends
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"x" * 10)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the URL at which it is served."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("AVLOC_OFFLINE", raising=False)
    return tmp_path / "cache"


def published(url: str, content: bytes, file: str = "net-12345678.pth") -> WeightFile:
    return WeightFile("net", file, f"{url}/{file}", f"sha256:{hashlib.sha256(content).hexdigest()[:8]}")


def test_weights_are_fetched_once_and_checked(served: tuple[Path, str], cache: Path) -> None:
    folder, url = served
    content = b"weights" * 500_000
    (folder / "net-12345678.pth").write_bytes(content)
    weights = published(url, content)
    assert find(weights, {}) is None
    path = resolve(weights, {})
    assert path == cache / "net-12345678.pth"
    assert path.read_bytes() == content
    (folder / "net-12345678.pth").unlink()
    assert resolve(weights, {}) == path  # from the cache
    assert [p.name for p in cache.iterdir()] == ["net-12345678.pth"]
    path.write_bytes(content[:-1])
    with pytest.raises(
        InputError, match=r"net-12345678\.pth: expected sha256 .*a damaged or different file; delete it"
    ):
        resolve(weights, {})


def test_what_is_not_as_published_never_reaches_the_cache(served: tuple[Path, str], cache: Path) -> None:
    folder, url = served
    (folder / "net-12345678.pth").write_bytes(b"something else")
    with pytest.raises(InputError, match="expected sha256"):
        resolve(published(url, b"weights"), {})
    with pytest.raises(InputError, match="the connection closed after 10 of 1000 bytes"):
        resolve(published(url, b"x" * 10, "broken.pth"), {})
    assert list(cache.iterdir()) == []


def test_offline_says_which_file_goes_where(
    served: tuple[Path, str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = rf"net-12345678\.pth cannot be downloaded .*Download {served[1]}/net-12345678\.pth"
    wanted += rf".*put it at {cache}/net-12345678\.pth, or give its path with --weights net=PATH"
    with pytest.raises(InputError, match=wanted):
        resolve(published(served[1], b"weights"), {})  # 404
    with pytest.raises(InputError, match=r"cannot be downloaded"):
        resolve(published("http://127.0.0.1:9", b"weights"), {})  # no server
    monkeypatch.setenv("AVLOC_OFFLINE", "1")
    with pytest.raises(InputError, match=r"cannot be downloaded \(AVLOC_OFFLINE is set\).*rgb_imagenet\.pt"):
        load_backbone("i3d")
    assert status(card("i3d-rgb")) == "not available; downloaded on first use: rgb_imagenet.pt"


def test_a_path_of_the_users_counts_as_it_is(cache: Path, tmp_path: Path) -> None:
    weights = published("http://127.0.0.1:9", b"weights")
    own = tmp_path / "mine.pth"
    own.write_bytes(b"my own")
    assert resolve(weights, {"net": str(own)}) == own
    assert resolve(weights, {"*": str(own)}) == own
    (tmp_path / "net-12345678.pth").write_bytes(b"published")
    assert resolve(weights, {"net": str(tmp_path)}) == tmp_path / "net-12345678.pth"
    with pytest.raises(InputError, match=r"--weights net=.*gone: expected net-12345678\.pth"):
        resolve(weights, {"net": str(tmp_path / "gone")})


def test_git_checksums_are_gits(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"hello\n")
    assert digest(tmp_path / "a", "git") == "ce013625030ba8dba906f756967f9e9ca394464a"  # `git hash-object`
    assert digest(tmp_path / "a").startswith("5891b5b522d5df086d0ff0b110fbd9d2")  # `sha256sum`


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AVLOC_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "avloc"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "avloc"


class Trap:
    def __reduce__(self) -> tuple:
        return open, ("trapped", "w")


def test_every_kind_of_file_is_read_and_none_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pth")
    torch.save({"state_dict": state}, tmp_path / "c.pt", _use_new_zipfile_serialization=False)  # as PyTorch 0.3
    arrays = {key: value.numpy().astype(np.float64) for key, value in state.items()}
    torch.save(arrays, tmp_path / "d.pth", _use_new_zipfile_serialization=False)
    old = (tmp_path / "d.pth").read_bytes().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    assert old != (tmp_path / "d.pth").read_bytes()
    (tmp_path / "d.pth").write_bytes(old)  # as numpy 1 pickled arrays
    for name in ("a.safetensors", "b.pth", "c.pt", "d.pth"):
        read = read_state(tmp_path / name)
        assert {key: value.tolist() for key, value in read.items()} == {key: v.tolist() for key, v in state.items()}
    torch.save({"a": Trap()}, tmp_path / "e.pth")
    (tmp_path / "f.pth").write_bytes(pickle.dumps(Trap()))
    (tmp_path / "g.safetensors").write_bytes(b"not at all")
    (tmp_path / "h.pth").write_bytes(b"")
    torch.save(torch.ones(3), tmp_path / "i.pth")
    for name in ("e.pth", "f.pth", "g.safetensors", "h.pth", "i.pth"):
        with pytest.raises(InputError, match=rf"{name}: expected"):
            read_state(tmp_path / name)
    assert not (tmp_path / "trapped").exists()


def test_weights_must_fit() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    state = dict(module.state_dict())
    del state["1.num_batches_tracked"]  # older files have none
    load_into(module, {key: value + 1 for key, value in state.items()}, Path("x.pth"))
    assert float(module[1].weight.detach()[0]) == 2
    state["1.scale"] = state.pop("1.weight")
    with pytest.raises(
        InputError, match=r"x\.pth.*Sequential: 1 missing, e\.g\. 1\.weight; 1 unknown, e\.g\. 1\.scale"
    ):
        load_into(module, state, Path("x.pth"))
    state = dict(module.state_dict()) | {"0.weight": torch.ones(3, 5)}
    with pytest.raises(InputError, match=r"1 wrong shape, e\.g\. 0\.weight is \(3, 5\), expected \(3, 2\)"):
        load_into(module, state, Path("x.pth"))


def test_no_gradients_and_the_device_that_was_asked_for() -> None:
    from avloc.errors import ConfigError
    from avloc.features.backbones.network import Network

    seen = []

    class Spy(torch.nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            seen.append((torch.is_inference_mode_enabled(), self.training, len(inputs)))
            return inputs

    network = Network(Spy(), Setup(), at_once=2)
    rows = network(torch.rand(5, 3))
    assert rows.shape == (5, 3)
    assert seen == [(True, False, 2), (True, False, 2), (True, False, 1)]
    assert network.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert Network(Spy(), Setup(precision="bfloat16")).dtype == torch.bfloat16
    with pytest.raises(ConfigError, match=r"device: expected auto, cpu, cuda, cuda:N or mps, got 'gpuu'"):
        Network(Spy(), Setup(device="gpuu"))
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="PyTorch sees no GPU on this machine"):
            Network(Spy(), Setup(device="cuda"))

"""Files that claim, repeat or expand to far more than they are, and the memory that reading them takes.

For test_bombs.py and `python -m benchmarks.reliability hostile-files`. Each is at most 20 MB.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch

ARRAY = "from avloc.datasets.places import ArrayFile; read = lambda p: ArrayFile(p).read()"
INDEX = "from avloc.formats.untrusted.arrays import index_arrays as read"
FEATURES = "from avloc.formats.features import load_features as read"
WEIGHTS = "from avloc.features.weights import read_state as read"
MODEL = "from avloc.model.checkpoint import load_model as read"
CARD = "from avloc.formats.results import find_results; read = lambda p: find_results(p.parent).read()"
MIB = 1 << 20


class Read(NamedTuple):
    """What came of a sample. The text is the reader's, or what went wrong."""

    word: str  # refused, read, failed or died
    text: str
    megabytes: int
    seconds: float


def laugh(start: bytes, again: bytes = b"h%c", end: bytes = b"l", levels: int = 13) -> bytes:
    """A pickle of containers, each of ten references to the one before."""
    lines = [b"\x80\x02", start, b"q\x000"]
    for k in range(levels):
        lines += [b"(", (again % k) * 10, end, b"q%c" % (k + 1), b"0"]
    return b"".join([*lines, b"h%c." % levels])


def copies(call: bytes, arguments: bytes, times: int) -> bytes:
    """A pickle that keeps 1 MiB once and has it copied many times."""
    kept = (
        b"X" + struct.pack("<I", MIB) + b"a" * MIB if call == b"c_codecs\nencode\n" else b"B" + struct.pack("<I", MIB)
    )
    kept += b"" if call == b"c_codecs\nencode\n" else b"a" * MIB
    head = b"\x80\x03" + kept + b"q\x000" + call + b"q\x010" + arguments
    return head + b"](" + b"h\x01h\x00h\x02\x86R" * times + b"e."


def zeros_npz(path: Path, entries: int, rows: int, method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for k in range(entries):
            with archive.open(f"{k}.npy", "w") as file:
                header = {"descr": "<f4", "fortran_order": False, "shape": (rows, 256)}
                np.lib.format.write_array_header_1_0(file, header)
                for _ in range(rows // 1024):
                    file.write(bytes(MIB))


def lzma_npz(path: Path) -> None:
    """30 kB that Python's zipfile expands to 200 MB, however little is read of it."""
    zeros_npz(path, 1, 200 * 1024, zipfile.ZIP_LZMA)


def lying_npz(path: Path) -> None:
    """The directory claims 2 GiB stored for an array that is 300 MB of deflated zeros."""
    zeros_npz(path, 1, 300 * 1024)
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\1\2")
    data[at + 20 : at + 24] = struct.pack("<I", 2**31)
    path.write_bytes(data)


def overlapping_npz(path: Path) -> None:
    """3,000 entries of the directory for one member of 1 MiB."""
    zeros_npz(path, 1, 1024, zipfile.ZIP_STORED)
    data = path.read_bytes()
    at, end = data.rfind(b"PK\1\2"), data.rfind(b"PK\5\6")
    entry, tail = data[at:end], bytearray(data[end:])
    count = 3000
    tail[8:12], tail[12:16] = struct.pack("<2H", count, count), struct.pack("<I", count * len(entry))
    named = (entry[:46] + b"%05d" % k + entry[51:] for k in range(count))
    path.write_bytes(data[:at] + b"".join(named) + tail)


def huge_directory(path: Path) -> None:
    entry = b"PK\1\2" + struct.pack("<4B4H3L5H2L", 20, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0)
    entries = b"".join(entry + b"%05d" % (k % 100_000) for k in range(380_000))
    path.write_bytes(entries + b"PK\5\6" + struct.pack("<4H2LH", 0, 0, 65535, 65535, len(entries), 0, 0))


def torch_pickle(path: Path, content: bytes, method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")


def deflated_pt(path: Path) -> None:
    torch.save({"feats": torch.zeros(75 * MIB)}, path.with_suffix(".big"))
    with zipfile.ZipFile(path.with_suffix(".big")) as big, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as small:
        for info in big.infolist():
            small.writestr(info.filename, big.read(info))
    path.with_suffix(".big").unlink()


def bf16_pt(path: Path) -> None:
    one = torch.zeros(MIB, dtype=torch.bfloat16)
    torch.save({str(k): one.view(1024, 1024) for k in range(3000)}, path)


def million_tensors(path: Path) -> None:
    tensors = (f'"{k}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for k in range(300_000))
    header = ("{" + ",".join(tensors) + "}").encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def no_channels(path: Path) -> None:
    facts = {
        "avloc_features": "1",
        "video_id": "x",
        "duration_s": "1e12",
        "grid": json.dumps({"start_s": "0", "step_s": "1", "length_s": "1", "count": 10**12}),
        "source": "{}",
    }
    tensor = {"dtype": "F32", "shape": [10**12, 0], "data_offsets": [0, 0]}
    header = json.dumps({"__metadata__": facts, "visual": tensor}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def with_h5(make: Callable[[Any], object]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with h5py.File(path, "w") as file:
            make(file)

    return write


def vlen_h5(file: Any) -> None:
    rows = file.create_dataset("feats", (2000, 2), h5py.vlen_dtype(np.float32))
    rows[0, 0] = np.zeros(MIB, np.float32)


def loops_h5(file: Any) -> None:
    for k in range(60):
        file.create_group(f"g{k}")
    for k in range(60):
        for j in range(60):
            file[f"g{k}"][f"g{j}"] = file[f"g{j}"]


def chunk_h5(file: Any) -> None:
    options = {"chunks": (512 * 1024, 512), "maxshape": (None, None), "compression": "gzip"}
    file.create_dataset("feats", (4, 4), np.float32, **options)[:] = 0


def deflated_chunk(path: Path, filters: int = 1) -> None:
    """A chunk of 16 kB whose content, deflated as often as there are filters, is 600 MB of zeros."""
    content = zlib.compress(bytes(600 * MIB))
    for _ in range(filters - 1):
        content = zlib.compress(content)
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((64, 64))
    for _ in range(filters):
        properties.set_deflate(9)
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple((64, 64))
        h5py.h5d.create(file.id, b"feats", h5py.h5t.NATIVE_FLOAT, space, properties).write_direct_chunk((0, 0), content)


def same_hashes(count: int = 40_000) -> bytes:
    """A pickled dict whose keys all have the hash 0: Python's hash of k (2^61 - 1)."""
    keys = (k * (2**61 - 1) for k in range(1, count))
    return b"\x80\x02}(" + b"".join(b"\x8a\x0b" + key.to_bytes(11, "little") + b"N" for key in keys) + b"u."


def wide_table(path: Path) -> None:
    """50,000 columns and 20,000 rows of one cell: 10^9 entries, if every row is filled up."""
    columns = ",".join(f"c{k}" for k in range(50_000))
    path.write_text(f"video,path,status,reason,note,{columns}\n" + "v\n" * 20_000)
    (path.parent / "segments.csv").write_text("video,start_s,end_s,label,score\nv,0,1,a,0.5\n")


def claiming_state(path: Path) -> None:
    """A state whose checksum is right, and which asks for 1 GiB."""
    torch_pickle(path, b"\x80\x02cbuiltins\nbytearray\nJ\0\0\0\x40\x85R.")
    content = path.read_bytes()
    path.write_bytes(b"avloc training state, sha256 " + hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def yaml_merge(path: Path) -> None:
    lines = ["a0: &a0 {k: 1, l: 2}"]
    lines += [f"a{k}: &a{k} {{<<: [{','.join([f'*a{k - 1}'] * 10)}]}}" for k in range(1, 9)]
    _card(path, "\n".join([*lines, "config: {localize: {decode: multi}}"]))


def _card(path: Path, text: str) -> None:
    path.write_text(text)
    (path.parent / "segments.csv").write_text("video,start_s,end_s,label,score\nv,0,1,a,0.5\n")


def parquet(path: Path) -> None:
    import pyarrow
    from pyarrow import parquet as writer

    one, fields = ["a" * MIB] * 3000, ("video", "path", "status", "reason", "note")
    columns = {name: pyarrow.array(one).dictionary_encode() if name == "note" else ["v"] * 3000 for name in fields}
    numbers = {name: [0] * 3000 for name in ("seconds", "duration_s", "snippets", "visual_size", "audio_size", "bytes")}
    writer.write_table(pyarrow.table({**columns, **numbers}), path)


def packed_parquet(path: Path) -> None:
    """One text of 400 MiB in 30 kB."""
    import pyarrow
    from pyarrow import parquet as writer

    fields = ("video", "path", "status", "reason", "note")
    table = pyarrow.table({name: ["a" * (400 * MIB if name == "note" else 1)] for name in fields})
    writer.write_table(table, path, compression="zstd", use_dictionary=False, write_statistics=False)


def pickled(value: Any, protocol: int = 4) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(pickle.dumps(value, protocol))


def raw(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def npy(shape: tuple[int, ...]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
            file.write(bytes(64))

    return write


def npy_objects(path: Path) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (10,)})
        file.write(laugh(b"]"))


ENCODE = (b"c_codecs\nencode\n", b"X\6\0\0\0latin1q\x020", 5000)
FROM_BUFFER = b"cnumpy._core.numeric\n_frombuffer\nq\x010cnumpy\ndtype\n(X\2\0\0\0u1K\0K\1tRq\x020"

SAMPLES: dict[str, tuple[Callable[[Path], object], str]] = {
    "encode.pkl": (raw(copies(*ENCODE)), ARRAY),
    "frombuffer.pkl": (
        raw(
            b"\x80\x03B"
            + struct.pack("<I", MIB)
            + b"a" * MIB
            + b"q\x000"
            + FROM_BUFFER
            + b"]("
            + (b"h\x01(h\x00h\x02J\0\0\x10\0\x85X\1\0\0\0CtR" * 3000)
            + b"e."
        ),
        ARRAY,
    ),
    "lists.pkl": (raw(laugh(b"]")), ARRAY),
    "tuples.pkl": (raw(laugh(b")", end=b"t")), ARRAY),
    "dicts.pkl": (raw(laugh(b"}", again=b"X\1\0\0\0ah%c", end=b"d")), ARRAY),
    "itself.pkl": (raw(b"\x80\x02]q\x00h\x00a."), ARRAY),
    "ragged.pkl": (pickled([[1.0, 2.0], [3.0]]), ARRAY),
    "empty_lists.pkl": (raw(b"\x80\x02](" + b"]" * (3 * MIB) + b"e."), ARRAY),
    "long_integer.pkl": (raw(b"\x80\x02\x8b" + struct.pack("<I", 8 * MIB) + b"\x7f" * (8 * MIB) + b"."), ARRAY),
    "hashes.pkl": (raw(same_hashes()), ARRAY),
    "objects.npy": (npy_objects, ARRAY),
    "no_columns.npy": (npy((10**12, 0)), "from avloc.formats.untrusted.arrays import load_array as read"),
    "no_columns_index.npy": (npy((10**9, 0)), INDEX),
    "entries.npz": (lambda path: zeros_npz(path, 300, 1024), ARRAY),
    "lying.npz": (lying_npz, ARRAY),
    "lzma.npz": (lzma_npz, ARRAY),
    "overlapping.npz": (overlapping_npz, ARRAY),
    "directory.npz": (huge_directory, ARRAY),
    "bytearray.pt": (lambda p: torch_pickle(p, b"\x80\x02cbuiltins\nbytearray\n\x8a\x06\0\0\0\0\x01\0\x85R."), ARRAY),
    "lists.pt": (lambda p: torch_pickle(p, laugh(b"]")), ARRAY),
    "itself.pt": (lambda p: torch_pickle(p, b"\x80\x02]q\x00h\x00a."), ARRAY),
    "hashes.pt": (lambda path: torch_pickle(path, same_hashes()), ARRAY),
    "state.pt": (claiming_state, "from avloc.train.state import load_state as read"),
    "deflated.pt": (deflated_pt, ARRAY),
    "bfloat16.pt": (bf16_pt, ARRAY),
    "bytearray.pth": (
        lambda p: torch_pickle(p, b"\x80\x02cbuiltins\nbytearray\n\x8a\x06\0\0\0\0\x01\0\x85R."),
        WEIGHTS,
    ),
    "variable.h5": (with_h5(vlen_h5), ARRAY),
    "references.h5": (with_h5(lambda file: file.create_dataset("feats", (9, 9), h5py.ref_dtype)), ARRAY),
    "loops.h5": (with_h5(loops_h5), ARRAY),
    "chunk.h5": (with_h5(chunk_h5), ARRAY),
    "deflated.h5": (deflated_chunk, ARRAY),
    "deflated_twice.h5": (lambda path: deflated_chunk(path, 2), ARRAY),
    "scaled.h5": (with_h5(lambda file: file.create_dataset("feats", (9, 9), np.float32, scaleoffset=2)), ARRAY),
    "soft.h5": (with_h5(lambda file: file.__setitem__("feats", h5py.SoftLink("/feats"))), ARRAY),
    "external.h5": (with_h5(lambda file: file.__setitem__("feats", h5py.ExternalLink("/etc/passwd", "/x"))), ARRAY),
    "tensors.safetensors": (million_tensors, FEATURES),
    "scores.safetensors": (million_tensors, "from avloc.formats.activations import load_activations as read"),
    "model.safetensors": (million_tensors, MODEL),
    "no_channels.safetensors": (no_channels, FEATURES),
    "run.yaml": (yaml_merge, CARD),
    "sexagesimal.yaml": (
        lambda p: p.write_text("a: " + ":".join(["1"] * 10**6)),
        "from avloc.config import read_config as read",
    ),
    "lists.json": (
        lambda p: p.write_text("[" + "[]," * (6 * MIB) + "[]]"),
        "from avloc.formats.annotations import read_annotations as read",
    ),
    "objects.boris": (
        lambda p: p.write_text('{"observations":[' + "{}," * (6 * MIB) + "{}]}"),
        "from avloc.interchange.convert import read_segments as read",
    ),
    "elements.eaf": (
        lambda p: p.write_text("<a>" + "<a/>" * (4 * MIB) + "</a>"),
        "from avloc.interchange.convert import read_segments as read",
    ),
    "videos.csv": (wide_table, CARD),
    "manifest.csv": (
        wide_table,
        "from avloc.features.manifest import read_manifest; read = lambda p: read_manifest(p.parent)",
    ),
    "tags.csv": (wide_table, "from avloc.formats.tags import read_tags as read"),
    "record.json": (
        lambda p: p.write_text("[" * 10**5),
        "from avloc.train.record import read_record; read = lambda p: read_record(p.parent)",
    ),
    "blocked.json": (
        lambda p: p.write_text("[" + "[]," * (6 * MIB) + "[]]"),
        "from avloc.evaluate.reference import read_blocked as read",
    ),
    "config.json": (
        lambda p: p.write_text("[" * 10**5),
        "from avloc.features.backbones.hub_files import read_json; read = lambda p: read_json(p, 'a configuration')",
    ),
    "field.csv": (
        lambda p: p.write_text('video,labels\n"' + "a" * (16 * MIB)),
        "from avloc.formats.labels import read_labels as read",
    ),
    "brackets.yaml": (
        lambda p: p.write_text("[" * 50_000),
        "from avloc.config import read_config as read",
    ),
    "manifest_packed.parquet": (
        packed_parquet,
        "from avloc.features.manifest import read_manifest; read = lambda p: read_manifest(p.parent)",
    ),
    "manifest.parquet": (
        parquet,
        "from avloc.features.manifest import read_manifest; read = lambda p: read_manifest(p.parent)",
    ),
}
"""{file name: (how it is made, statement that defines `read`)}. All are refused."""

_READ = """
import os, resource, sys, time, json
from pathlib import Path
import h5py, numpy, torch, pyarrow.parquet, pandas
import avloc.model.checkpoint, avloc.interchange.convert, avloc.datasets.places, avloc.features.manifest
import avloc.features.weights, avloc.formats.results, avloc.formats.activations, avloc.config
from avloc.errors import AvlocError
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1024
def child(file, load):
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    names = {}
    exec(load, names)
    before, began = peak(), time.process_time()
    try:
        names["read"](Path(file))
        word, text = "read", "."
    except AvlocError as error:
        word, text = "refused", str(error)
    except BaseException as error:
        word, text = "failed", repr(error)[:300]
    print(json.dumps([word, round(peak() - before), round(time.process_time() - began, 2), text]), flush=True)
for file, load in json.load(sys.stdin):
    if not (pid := os.fork()):
        child(file, load)
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        print(json.dumps(["died", 0, 0, "."]), flush=True)
"""


def measure(samples: Mapping[Path, str]) -> dict[Path, Read]:
    """Read {file: statement that defines `read`}, each in a process of its own that starts with the imports done.

    Peak memory is that beyond the imports, the time is CPU time.
    """
    todo = json.dumps([(str(path), load) for path, load in samples.items()])
    done = subprocess.run([sys.executable, "-c", _READ], input=todo, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(done.stderr)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {
        path: Read(word, text, megabytes, seconds)
        for path, (word, megabytes, seconds, text) in zip(samples, lines, strict=True)
    }


def make_all(folder: Path, names: Iterable[str] = ()) -> dict[Path, str]:
    """Make the samples, each in a folder of its own; what `measure` takes."""
    made = {}
    for name in names or SAMPLES:
        path = folder / name.replace(".", "_") / name
        path.parent.mkdir(parents=True)
        SAMPLES[name][0](path)
        made[path] = SAMPLES[name][1]
    return made

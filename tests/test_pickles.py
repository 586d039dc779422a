"""Untrusted pickles, tensors and HDF5: data is read as numpy reads it, and code is never executed."""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import pickle
import pickletools
import subprocess
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from avloc.errors import AvlocError, FormatError, InputError
from avloc.formats.untrusted.arrays import index_arrays, load_array, load_arrays, load_pickle, load_tensors
from avloc.formats.untrusted.hdf5 import open_hdf5, plain_dataset
from avloc.formats.untrusted.pickles import MOST_BITS
from avloc.formats.untrusted.rebuild import ArrayPlace

SHARED = Path(__file__).resolve().parents[2] / "shared"
REAL = sorted(SHARED.glob("real/annotations/*/*-Annotations/*.npy")) + sorted(SHARED.glob("golden/wtalc_det_ann/*.npy"))
needs_shared = pytest.mark.skipif(not REAL, reason="needs ../shared")


def npy(path: Path, pickled: bytes, shape: tuple[int, ...]) -> Path:
    """A .npy file of objects with the content `pickled`."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": shape})
    path.write_bytes(header.getvalue() + pickled)
    return path


def objects(*items: object) -> np.ndarray:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def same(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        if a.dtype != object:
            # numpy converts some byte orders to the native one; compare the numbers
            native_a, native_b = (x.astype(x.dtype.newbyteorder("=")) for x in (a, b))
            return native_a.dtype == native_b.dtype and a.shape == b.shape and native_a.tobytes() == native_b.tobytes()
        return b.dtype == object and a.shape == b.shape and all(map(same, a.flat, b.flat))
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or a != a)


# --- what is data reads back -----------------------------------------------------------------------------------------


@needs_shared
@pytest.mark.parametrize("path", REAL, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_real_annotation_files_read_as_numpy_reads_them(path: Path) -> None:
    assert same(load_array(path), np.load(path, allow_pickle=True, encoding="latin1"))


integers = st.integers(1 - 2**MOST_BITS, 2**MOST_BITS - 1)
numbers = st.one_of(st.none(), st.booleans(), integers, st.floats(), st.text(max_size=9), st.binary(max_size=9))
dtypes = st.sampled_from(["<f4", ">f8", "<i8", "u1", "?", "<c8", "S3", "<U4", ">U2", "f2"])
arrays = dtypes.flatmap(lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)))
scalars = arrays.filter(lambda a: a.size > 0).map(lambda a: a.flat[0])
data = st.recursive(
    st.one_of(numbers, arrays, scalars), lambda inner: st.one_of(st.lists(inner, max_size=4), st.tuples(inner, inner))
)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_integer_of_more_bits_than_numpy_has_is_refused(tmp_path: Path, protocol: int) -> None:
    for value in (2**MOST_BITS, -(2**MOST_BITS)):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps([value], protocol))
        with pytest.raises(FormatError, match="asks for an integer of 65 bits, more than 64; only arrays"):
            load_pickle(tmp_path / "x.pkl")


@example(value=np.bytes_(b""), protocol=0)  # a number of zero bytes
@example(value=np.array(0.0, dtype=">f8"), protocol=0)
@settings(max_examples=150, deadline=None)
@given(value=data, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_all_that_is_data_comes_back(tmp_path_factory: pytest.TempPathFactory, value: object, protocol: int) -> None:
    path = tmp_path_factory.mktemp("p") / "x.pkl"
    try:
        pickled = pickle.dumps(value, protocol)
    except ValueError:  # numpy cannot pickle some values, such as a 0-d unicode array with protocol 0
        return
    path.write_bytes(pickled)
    assert same(load_pickle(path), pickle.loads(pickled))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_in_either_order_and_shared_ones(tmp_path: Path, protocol: int) -> None:
    one = np.arange(6.0).reshape(2, 3)
    value = objects(one, one, np.asfortranarray(one), [one, ["a", b"b"]], one.T)
    path = npy(tmp_path / "x.npy", pickle.dumps(value, protocol), value.shape)
    read = load_array(path)
    assert same(read, value)
    assert read[0] is read[1]
    assert read[0] is read[3][0]
    read[0][0, 0] = 7  # writable
    assert value[0][0, 0] == 0


def test_what_python_2_wrote_is_latin_1(tmp_path: Path) -> None:
    # cPickle.dumps([u'\u00e9', '\xe9', 5L], 2) of Python 2.7
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x02]q\x01(X\x02\x00\x00\x00\xc3\xa9q\x02U\x01\xe9q\x03\x8a\x01\x05e.")
    assert load_pickle(path) == ["é", "é", 5]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_large_arrays_stay_on_disk_until_they_are_read(tmp_path: Path, protocol: int) -> None:
    rng = np.random.default_rng(0)
    value = objects(*(rng.normal(size=(n, 64)).astype("f4") for n in (3, 40, 500)), np.asfortranarray(np.eye(40)))
    path = npy(tmp_path / "x.npy", pickle.dumps(value, protocol), value.shape)
    found = index_arrays(path)
    assert [isinstance(entry, ArrayPlace) for entry in found] == [False, True, True, True] or protocol == 2
    read = [entry.read() if isinstance(entry, ArrayPlace) else entry for entry in found]
    assert all(map(same, read, value))
    np.save(tmp_path / "y.npy", np.stack([value[1], value[1] + 1]))
    second = index_arrays(tmp_path / "y.npy")[1]
    assert isinstance(second, ArrayPlace)
    np.testing.assert_array_equal(second.read(), value[1] + 1)


def test_what_is_no_list_of_arrays_is_refused(tmp_path: Path) -> None:
    for value, message in ((objects("a", "b"), "got str at 0"), (objects(np.eye(2), [1]), "got list at 1")):
        path = npy(tmp_path / "x.npy", pickle.dumps(value), value.shape)
        with pytest.raises(FormatError, match=f"expected an array per video, {message}"):
            index_arrays(path)
    np.save(tmp_path / "y.npy", np.arange(3))
    with pytest.raises(FormatError, match=r"expected an array per video, got int64 \(3,\)"):
        index_arrays(tmp_path / "y.npy")


# --- what is more than data does nothing -----------------------------------------------------------------------------


class Calls:
    """An object whose pickle calls a function in a normal unpickler."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


class Plain:
    """An instance of a class, without a call."""


def canary(folder: Path) -> Path:
    return folder / "it ran"


def touch(folder: Path) -> str:
    return f"open({str(canary(folder))!r}, 'w').close()"


EVIL: dict[str, tuple[Callable[[Path], object], str]] = {
    "os.system": (lambda f: Calls(os.system, f"touch '{canary(f)}'"), r"asks for (posix|nt)\.system"),
    "eval": (lambda f: Calls(builtins.eval, touch(f)), r"asks for builtins\.eval"),
    "exec": (lambda f: Calls(builtins.exec, touch(f)), r"asks for builtins\.exec"),
    "open": (lambda f: Calls(builtins.open, str(canary(f)), "w"), r"asks for (_?io)\.open|builtins\.open"),
    "getattr": (lambda f: Calls(getattr, "x", "upper"), r"asks for builtins\.getattr"),
    "import": (lambda f: Calls(builtins.__import__, "os"), r"asks for builtins\.__import__"),
    "popen": (lambda f: Calls(subprocess.Popen, ["touch", str(canary(f))]), r"asks for (subprocess|commands)\.Popen"),
    "partial": (lambda f: partial(os.system, f"touch '{canary(f)}'"), r"asks for functools\.partial"),
    "nested in lists": (lambda f: [1, ["a", [Calls(eval, touch(f))]]], r"asks for builtins\.eval"),
    "nested in an array": (lambda f: objects("a", [Calls(eval, touch(f))]), r"asks for builtins\.eval"),
    "as a key": (lambda f: {"a": {"b": Calls(eval, touch(f))}}, r"asks for builtins\.eval"),
    "numpy's loader": (lambda f: Calls(np.load, str(f / "x.npy"), None, True), r"asks for numpy\.load"),
    "numpy's file": (lambda f: Calls(np.memmap, str(canary(f)), "u1", "w+", 0, (1,)), r"asks for numpy\.memmap"),
    "a class": (lambda f: Plain(), r"asks for (test_pickles|tests\.test_pickles)\.Plain|asks for copy_?reg"),
    "a set": (lambda f: {1, 2}, r"asks for the instruction EMPTY_SET|asks for builtins\.set|asks for __builtin__"),
    "a dict's child": (lambda f: OrderedDict(a=1), r"asks for collections\.OrderedDict"),
    "a function as a value": (lambda f: [os.system], r"asks for (posix|nt)\.system"),
}


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_malice_does_nothing_and_is_named(tmp_path: Path, name: str, protocol: int) -> None:
    make, message = EVIL[name]
    value = make(tmp_path)
    pickled = pickle.dumps(value, protocol).replace(b"c__builtin__\n", b"cbuiltins\n")
    (tmp_path / "x.pkl").write_bytes(pickled)
    with pytest.raises(FormatError, match=rf"x\.pkl: its pickle ({message})"):
        load_pickle(tmp_path / "x.pkl")
    path = npy(tmp_path / "x.npy", pickle.dumps(objects(value), protocol), (1,))
    for read in (load_array, index_arrays):
        with pytest.raises(FormatError, match=r"x\.npy: its pickle asks for .* nothing was executed"):
            read(path)
    assert not canary(tmp_path).exists()


def test_the_malice_of_these_tests_is_real(tmp_path: Path) -> None:
    """Python's own unpickler executes what the tests above refuse."""
    for name in ("eval", "exec", "nested in an array"):
        pickle.loads(pickle.dumps(EVIL[name][0](tmp_path)))
        assert canary(tmp_path).exists()
        canary(tmp_path).unlink()


DTYPE = b"cnumpy\ndtype\n(S'%s'\nI0\nI1\ntR"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"

CRAFTED: dict[str, tuple[bytes, str]] = {
    # an object array whose pointers come from the file: numpy's __setstate__ trusts the flags (63 -> 0)
    "addresses": (
        ARRAY + b"(I1\n(I1\nt" + DTYPE % b"O8" + b"(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nS'AAAAAAAA'\ntb.",
        "an array of 1 objects, but does not list them",
    ),
    "a number that is an object": (
        b"cnumpy.core.multiarray\nscalar\n(" + DTYPE % b"O8" + b"S'AAAAAAAA'\ntR.",
        "an array of 1 objects, but does not list them",
    ),
    "fewer bytes than the shape": (
        ARRAY + b"(I1\n(I1000000\nt" + DTYPE % b"f8" + b"I00\nS'AAAAAAAA'\ntb.",
        "an array of 8000000 bytes, but does not hold them",
    ),
    "a huge empty array": (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I99999999999\ntS'b'\ntR.",
        "an array of another class or shape",
    ),
    "a compound dtype": (
        DTYPE % b"f8" + b"(I3\nS'<'\nN(S'a'\ntNI-1\nI-1\nI0\ntb.",
        "a compound dtype",
    ),
    "a void dtype": (DTYPE % b"V8" + b".", "the dtype 'V8'"),
    "a dtype alone": (DTYPE % b"f8" + b".", "a bare dtype"),
    "an array alone": (ARRAY + b".", "an array without content"),
    "a negative shape": (
        ARRAY + b"(I1\n(I-1\nt" + DTYPE % b"f8" + b"I00\nS''\ntb.",
        "an array of unknown dtype or shape",
    ),
    "changing the class of arrays": (b"cnumpy\nndarray\n}S'x'\nI1\nsb.", "a change of GlobalName"),
    "changing a list": (b"(lI1\nb.", "a change of list"),
    "calling the class of arrays": (b"cnumpy\nndarray\n(I3\ntR.", r"a call of numpy\.ndarray"),
    "calling text": (b"S'x'\n(tR.", "a call of str"),
    "an instance": (b"(ios\nsystem\n.", r"the instruction INST 'os system'"),
    "an object": (b"(cnumpy\nndarray\no.", "the instruction OBJ"),
    "a new object": (b"\x80\x02cnumpy\nndarray\n)\x81.", "the instruction NEWOBJ"),
    "an extension": (b"\x80\x02\x82\x01.", "the instruction EXT1 1"),
    "a persistent id": (b"Pevil\n.", "the instruction PERSID 'evil'"),
    "a dotted name": (b"\x80\x04\x8c\x05numpy\x8c\x0bctypeslib.x\x93.", r"numpy\.ctypeslib\.x"),
    "names that are none": (b"\x80\x04K\x01K\x02\x93.", "a global without a name"),
    "another codec": (b"c_codecs\nencode\n(S'a'\nS'zlib'\ntR.", "an encoding of anything but bytes"),
    "a global as a key": (b"}cnumpy\nndarray\nI1\ns.", "GlobalName"),
    "a key that is a list": (b"}(lI1\ns.", "a dict whose keys are not text or numbers"),
    "appending to text": (b"S'x'\nI1\na.", "appending to str"),
    "items of text": (b"S'x'\nI1\nI1\ns.", "setting items of str"),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_crafted_pickles_are_refused(tmp_path: Path, name: str) -> None:
    pickled, message = CRAFTED[name]
    (tmp_path / "x.pkl").write_bytes(pickled)
    with pytest.raises(FormatError, match=rf"x\.pkl: its pickle asks for .*{message}"):
        load_pickle(tmp_path / "x.pkl")


def test_damage_is_an_error_in_words(tmp_path: Path) -> None:
    whole = pickle.dumps(objects("a", np.arange(5), [1.5]), 4)
    path = tmp_path / "x.pkl"
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(FormatError, match=r"is damaged"):
            load_pickle(path)


@settings(max_examples=300, deadline=None)
@given(noise=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4))
def test_flipped_bytes_never_surprise(tmp_path_factory: pytest.TempPathFactory, noise: list[tuple[int, int]]) -> None:
    raw = bytearray(pickle.dumps(objects("ab", np.arange(5), [1.5, np.float32(2)], {"k": (1, 2)}), 2))
    for place, byte in noise:
        raw[place % len(raw)] = byte
    path = npy(tmp_path_factory.mktemp("n") / "x.npy", bytes(raw), (4,))
    for read in (load_array, index_arrays):
        with contextlib.suppress(AvlocError):  # other exceptions fail the test
            read(path)


def test_shared_tuples_do_not_explode(tmp_path: Path) -> None:
    """Thirty tuples, each of the previous one twice: 2^30 entries if copied."""
    pickled = b"\x80\x02)" + b"q\x000" + b"h\x00" + b"".join(b"q\x01h\x01\x86" for _ in range(30)) + b"."
    assert sum(1 for _ in pickletools.genops(pickled)) > 90
    (tmp_path / "x.pkl").write_bytes(pickled)
    assert isinstance(load_pickle(tmp_path / "x.pkl"), tuple)


# --- other containers ------------------------------------------------------------------------------------------------


def test_plain_npy_and_npz(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.eye(3))
    np.testing.assert_array_equal(load_array(tmp_path / "a.npy"), np.eye(3))
    np.savez_compressed(tmp_path / "b.npz", feature=np.asfortranarray(np.ones((2, 3))), names=objects("x"), n=5)
    found = load_arrays(tmp_path / "b.npz")
    assert set(found) == {"feature", "n"}
    assert same(found["feature"], np.ones((2, 3)))
    whole = (tmp_path / "a.npy").read_bytes()
    for content, message in ((whole[:-1], "expected 72 bytes of numbers, got 71"), (b"text", "expected numpy's")):
        (tmp_path / "a.npy").write_bytes(content)
        with pytest.raises(FormatError, match=message):
            load_array(tmp_path / "a.npy")
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 half")
    with pytest.raises(FormatError, match=r"expected a \.npz file"):
        load_arrays(tmp_path / "b.npz")
    for read in (load_array, load_arrays, load_pickle, load_tensors, index_arrays):
        with pytest.raises(InputError, match="it does not exist"):
            read(tmp_path / "none")


def test_a_header_that_promises_too_much_allocates_nothing(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 10)})
    (tmp_path / "a.npy").write_bytes(header.getvalue() + b"few")
    for read in (load_array, index_arrays):
        with pytest.raises(FormatError, match="expected 80000000000000 bytes of numbers, got 3"):
            read(tmp_path / "a.npy")
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", header.getvalue() + b"few")
    with pytest.raises(FormatError, match=r"would expand from .* to 80000000000000 bytes"):
        load_arrays(tmp_path / "a.npz")


def test_tensors_are_read_and_nothing_else(tmp_path: Path) -> None:
    value = {"feats": torch.arange(6.0).reshape(2, 3), "half": [torch.ones(2, dtype=torch.bfloat16)], "fps": 25}
    torch.save(value, tmp_path / "a.pt")
    read = load_tensors(tmp_path / "a.pt")
    np.testing.assert_array_equal(read["feats"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(read["half"][0], [1, 1])
    for name in ("os.system", "eval", "a class"):
        torch.save({"x": EVIL[name][0](tmp_path)}, tmp_path / "b.pt")
        with pytest.raises(FormatError, match=r"b\.pt: the file asks for [\w.]+; only tensors are read, nothing"):
            load_tensors(tmp_path / "b.pt")
    assert not canary(tmp_path).exists()
    for content in (b"", b"text", (tmp_path / "a.pt").read_bytes()[:100]):
        (tmp_path / "c.pt").write_bytes(content)
        with pytest.raises(FormatError, match=r"c\.pt: "):
            load_tensors(tmp_path / "c.pt")


def test_hdf5_points_nowhere(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = np.arange(3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["external"] = h5py.ExternalLink("other.h5", "secret")
        file["soft"] = h5py.SoftLink("/external")
        file["group/external"] = h5py.ExternalLink("other.h5", "secret")
        file["folder"] = h5py.ExternalLink("other.h5", "/")
        file["plain/x"] = np.arange(2)
        file["number"] = 5
        file.create_dataset("raw", (3,), "u1", external=[(str(tmp_path / "other.h5"), 0, 3)])
        layout = h5py.VirtualLayout((3,), "i8")
        layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "secret", (3,))
        file.create_virtual_dataset("virtual", layout)
    with open_hdf5(tmp_path / "a.h5") as file:
        assert plain_dataset("a.h5", file, "plain/x")[:].tolist() == [0, 1]
        for key, message in {
            "external": r"'external' is a link \(ExternalLink\)",
            "soft": r"'soft' is a link \(SoftLink\)",
            "group/external": r"'external' is a link \(ExternalLink\)",
            "folder/secret": r"'folder' is a link \(ExternalLink\)",
            "raw": "is stored in other files",
            "virtual": "is stored in other files",
            "number": "expected 'number' to be an array",
            "plain": "expected 'plain' to be an array",
            "none": "expected a dataset 'none', got external, folder",
            "plain/x/y": "expected a dataset 'plain/x/y', got an empty file",
        }.items():
            with pytest.raises(FormatError, match=message):
                plain_dataset("a.h5", file, key)

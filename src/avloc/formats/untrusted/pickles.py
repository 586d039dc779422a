"""Read pickles of unknown origin as data: the field's .npy files contain pickles, and a pickle is a program.

Python's unpickler would execute it. This module interprets only the instructions that build data; anything else is
refused by name, and never looked up or called.

    built     None, True, False, int, float, str, bytes, list, tuple, dict
    rebuilt   numpy arrays, numbers and dtypes of kind b i u f c S U O, by code in `rebuild`
    refused   any other global (os.system, builtins.eval, numpy's own loaders, ...), instances of other classes,
              changes to finished objects, extension codes, persistent ids, sets

Text of Python 2 (its `str`) is read as Latin-1, as `numpy.load(..., encoding="latin1")` does.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from avloc.errors import FormatError
from avloc.formats.untrusted.budget import CONTAINER, NUMBER, POINTER, TEXT, Budget
from avloc.formats.untrusted.rebuild import ADMITTED, Cell, GlobalName, Refusal, Span, fill

LAZY_BYTES = 2048
"""In lazy mode, arrays of at least this many bytes stay on disk."""

DAMAGED = (ValueError, IndexError, KeyError, EOFError, TypeError, OverflowError, RecursionError, MemoryError)
"""Exceptions caused by a damaged file."""


def read_pickle(path: Path, file: IO[bytes], lazy: bool = False) -> Any:
    """The data of the pickle at the file's position. Parts may be shared: see `Budget.charge_tree`.

    Args:
        path: of the file, for errors and `ArrayPlace`.
        lazy: leave arrays of 2 KiB and more on disk and return an `ArrayPlace` for each.

    Raises:
        FormatError: the pickle is damaged, needs more than data, which is named, or more memory than its `Budget`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # escapes that Python 2 wrote and Python 3 frowns upon
        return _Machine(path, file, lazy).run()


class _Machine:
    """Pickle's stack machine, restricted to data. One instance reads one pickle."""

    def __init__(self, path: Path, file: IO[bytes], lazy: bool = False) -> None:
        self.path, self.file, self.lazy = path, file, lazy
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.budget = Budget(path, path.stat().st_size)
        self.tuples: dict[int, tuple[Any, Any]] = {}  # by id; each is checked once

    def run(self) -> Any:
        taken = 0
        try:
            while True:
                code = self.file.read(1)
                found = _INSTRUCTIONS.get(code)
                if found is None:
                    raise EOFError("no such instruction" if code else "no end")
                op, cost = found
                if op.name == "STOP":
                    return self.plain(self.stack.pop())
                taken += cost
                if taken > _CHARGED_AT_ONCE:
                    self.budget.charge(taken)
                    taken = 0
                self.step(op)
        except Refusal as refusal:
            raise FormatError(
                f"{self.path}: its pickle asks for {refusal}; only arrays, lists, text and numbers are read; nothing "
                "was executed. If you trust its source, save its arrays as plain .npy"
            ) from None
        except DAMAGED as error:
            raise FormatError(f"{self.path}: its pickle is damaged ({error!r:.200}); download it again") from error

    def step(self, op: pickletools.OpcodeInfo) -> None:
        if op.name in _COUNTED:
            self.stack.append(self.counted(*_COUNTED[op.name]))
            return
        argument = op.arg.reader(self.file) if op.arg is not None else None
        handler = _HANDLERS.get(op.name)
        if handler is None:
            raise Refusal(f"the instruction {op.name}" + (f" {argument!r}" if argument else ""))
        handler(self, argument)

    def counted(self, width: int, kind: str) -> Any:
        """The argument after a length of `width` bytes: text (Python 2's as Latin-1), bytes, or a span of them."""
        size = int.from_bytes(self.exactly(width), "little")
        if self.lazy and size >= LAZY_BYTES and kind != "utf-8":
            offset = self.file.tell()
            if offset + size > self.path.stat().st_size:
                raise EOFError(f"{size} bytes expected, fewer there")
            self.file.seek(size, 1)
            return Span(self.path, offset, size)
        raw = self.exactly(size)
        self.budget.charge(TEXT + size * (1 if kind == "bytes" else 4))  # text may take 4 bytes per character
        return raw if kind == "bytes" else raw.decode(kind, "surrogatepass" if kind == "utf-8" else "strict")

    def exactly(self, size: int) -> bytes:
        if size > self.budget.there:
            raise EOFError(f"{size} bytes expected, fewer there")
        raw = self.file.read(size)
        if len(raw) != size:
            raise EOFError(f"{size} bytes expected, {len(raw)} there")
        return raw

    def plain(self, value: Any) -> Any:
        """Check a value that enters a container or is returned: data, or refused."""
        if isinstance(value, Cell):
            if value.value is None or value.kind != "array":
                raise Refusal("an array without content, or a bare dtype")
            return value.value
        if isinstance(value, GlobalName | Span):
            raise Refusal(f"{value} as a value")
        if isinstance(value, tuple):
            if id(value) not in self.tuples:
                self.tuples[id(value)] = value, tuple(self.plain(item) for item in value)
            return self.tuples[id(value)][1]
        return value

    def marked(self) -> list[Any]:
        start = self.marks.pop()
        items, self.stack[start:] = self.stack[start:], []
        return items

    def name(self, module: str, name: str) -> None:
        if (module, name) not in ADMITTED:
            raise Refusal(f"{module}.{name}")
        self.stack.append(GlobalName(module, name))

    def stack_name(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not (isinstance(module, str) and isinstance(name, str)):
            raise Refusal("a global without a name")
        self.name(module, name)

    def reduce(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, GlobalName) or not isinstance(arguments, tuple):
            raise Refusal(f"a call of {type(function).__name__}")
        make = ADMITTED[function.module, function.name]
        if make is None:
            raise Refusal(f"a call of {function.module}.{function.name}")
        self.budget.charge(sum(len(part) for part in arguments if isinstance(part, str | bytes | list)))  # copied
        self.stack.append(make(*arguments))

    def build(self, _: Any) -> None:
        state, cell = self.stack.pop(), self.stack[-1]
        if not isinstance(cell, Cell) or not isinstance(state, tuple):
            raise Refusal(f"a change of {type(cell).__name__}")
        self.budget.charge(sum(len(part) for part in state if isinstance(part, str | bytes | list)))
        fill(cell, state)
        if cell.kind == "array":
            self.stack[-1] = cell.value


COSTS = {
    **dict.fromkeys(("EMPTY_LIST", "EMPTY_DICT", "LIST", "DICT", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"), CONTAINER),
    **dict.fromkeys(("INT", "BININT", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "MARK"), NUMBER),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), NUMBER + 2 * POINTER),
    **dict.fromkeys(("GLOBAL", "STACK_GLOBAL", "REDUCE"), 2 * CONTAINER),
    **dict.fromkeys(("STRING", "UNICODE"), TEXT),
}
"""Bytes that an instruction takes; others take a pointer, and those of `_COUNTED` what they hold as well."""

MOST_BITS = 64
"""Of an integer. Longer ones may all have one hash, and as keys take time that is quadratic in their number."""

_CHARGED_AT_ONCE = 1 << 20
_INSTRUCTIONS = {op.code.encode("latin-1"): (op, COSTS.get(op.name, POINTER)) for op in pickletools.opcodes}
_COUNTED = {
    "SHORT_BINSTRING": (1, "latin-1"),
    "BINSTRING": (4, "latin-1"),
    "SHORT_BINBYTES": (1, "bytes"),
    "BINBYTES": (4, "bytes"),
    "BINBYTES8": (8, "bytes"),
    "BYTEARRAY8": (8, "bytes"),
    "SHORT_BINUNICODE": (1, "utf-8"),
    "BINUNICODE": (4, "utf-8"),
    "BINUNICODE8": (8, "utf-8"),
}
"""Instructions followed by a length and that many bytes: (bytes of the length, encoding)."""


def _push(machine: _Machine, value: Any) -> None:
    machine.stack.append(value)


def _push_long(machine: _Machine, value: int) -> None:
    if value.bit_length() > MOST_BITS:
        raise Refusal(f"an integer of {value.bit_length()} bits, more than {MOST_BITS}")
    machine.stack.append(value)


def _constant(value: Any) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.stack.append(value)


def _fresh(kind: type) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.stack.append(kind())


def _tuple(count: int) -> Callable[[_Machine, Any], None]:
    def handler(machine: _Machine, _: Any) -> None:
        items = machine.stack[-count:]
        if len(items) < count:
            raise IndexError("stack")
        machine.stack[-count:] = [tuple(items)]

    return handler


def _list_of(machine: _Machine, items: list[Any]) -> list[Any]:
    return [machine.plain(item) for item in items]


def _pairs(machine: _Machine, items: list[Any]) -> dict[Any, Any]:
    values = _list_of(machine, items)
    if not all(isinstance(key, str | bytes | int | float) for key in values[::2]):
        raise Refusal("a dict whose keys are not text or numbers")
    return dict(zip(values[::2], values[1::2], strict=True))


def _extend(machine: _Machine, items: list[Any]) -> None:
    if not isinstance(machine.stack[-1], list):
        raise Refusal(f"appending to {type(machine.stack[-1]).__name__}")
    machine.stack[-1].extend(_list_of(machine, items))


def _update(machine: _Machine, items: list[Any]) -> None:
    if not isinstance(machine.stack[-1], dict):
        raise Refusal(f"setting items of {type(machine.stack[-1]).__name__}")
    machine.stack[-1].update(_pairs(machine, items))


def _take_two(machine: _Machine) -> list[Any]:
    value, key = machine.stack.pop(), machine.stack.pop()
    return [key, value]


def _remember(machine: _Machine, index: int | None) -> None:
    machine.memo[len(machine.memo) if index is None else int(index)] = machine.stack[-1]


def _recall(machine: _Machine, index: int) -> None:
    value = machine.memo[int(index)]
    finished = isinstance(value, Cell) and value.kind == "array" and value.value is not None
    machine.stack.append(value.value if finished else value)


_HANDLERS: dict[str, Callable[[_Machine, Any], Any]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, _: None),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "FLOAT", "BINFLOAT"), _push),
    **dict.fromkeys(("INT", "LONG", "LONG1", "LONG4"), _push_long),
    **dict.fromkeys(("STRING", "UNICODE"), _push),
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "POP": lambda machine, _: machine.stack.pop(),
    "POP_MARK": lambda machine, _: machine.marked(),
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
    "EMPTY_LIST": _fresh(list),
    "EMPTY_DICT": _fresh(dict),
    "EMPTY_TUPLE": _constant(()),
    "LIST": lambda machine, _: machine.stack.append(_list_of(machine, machine.marked())),
    "DICT": lambda machine, _: machine.stack.append(_pairs(machine, machine.marked())),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.marked())),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "APPEND": lambda machine, _: _extend(machine, [machine.stack.pop()]),
    "APPENDS": lambda machine, _: _extend(machine, machine.marked()),
    "SETITEM": lambda machine, _: _update(machine, _take_two(machine)),
    "SETITEMS": lambda machine, _: _update(machine, machine.marked()),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _remember),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _recall),
    "GLOBAL": lambda machine, argument: machine.name(*argument.split(" ", 1)),
    "STACK_GLOBAL": _Machine.stack_name,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
}
"""The supported instructions; all others are refused."""

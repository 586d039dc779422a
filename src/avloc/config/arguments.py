"""Arguments of public functions, checked at the call against their annotations.

>>> @checked()
... def cut(path: str | Path, workers: Count = 1, progress: Callable[[int], None] | None = None) -> None: ...
>>> cut("a.mp4", workers=0)
Traceback (most recent call last):
avloc.errors.InputError: workers: expected a whole number of at least 1, got 0
>>> cut("a.mp4", worker=2)
Traceback (most recent call last):
avloc.errors.ConfigError: cut has no argument 'worker'. Did you mean 'workers'?
"""

from __future__ import annotations

import collections.abc
import difflib
import inspect
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, wraps
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import Field

from avloc.errors import ConfigError, InputError, did_you_mean

Count = Annotated[int, Field(ge=1)]
"""A number of things."""

P = ParamSpec("P")
R = TypeVar("R")


def checked(options: Callable[[], Iterable[str]] = tuple) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator: a wrong argument is an error of one line at the call, before anything is done.

    Args:
        options: names that `**options` of the function takes, to tell a misspelt argument from a misspelt option; the
            function itself refuses the others.

    Raises, at a call:
        ConfigError: a keyword that the function does not have; similar ones are named. InputError: a value of the wrong
        type or out of range. TypeError: an argument is missing, or there are too many.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        takes_more = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
        names = [
            name for name, p in signature.parameters.items() if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        names = [name for name in names if name not in ("self", "cls")]

        @cache
        def hints() -> dict[
            str, Any
        ]:  # of the arguments alone: names in `-> Result` may be there for type checkers only
            given = {name: hint for name, hint in function.__annotations__.items() if name != "return"}
            home = vars(sys.modules[function.__module__])
            return get_type_hints(SimpleNamespace(__annotations__=given), home, include_extras=True)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in kwargs:
                if name not in names:
                    _refuse_unknown(
                        function.__qualname__.removesuffix(".__init__"),
                        name,
                        names,
                        list(options()) if takes_more else None,
                    )
            bound = signature.bind(*args, **kwargs)
            for name, value in bound.arguments.items():
                if name in names and name in hints():
                    check(name, value, hints()[name])
            return function(*args, **kwargs)

        return call

    return decorate


def _refuse_unknown(function: str, name: str, names: Sequence[str], options: Sequence[str] | None) -> None:
    """ConfigError, unless the function may have such an option."""
    if options is None:
        raise ConfigError(f"{function} has no argument {name!r}.{did_you_mean(name, names)}")
    near = difflib.get_close_matches(name, [*options, *names], n=1)
    if name not in options and near and near[0] in names:
        raise ConfigError(f"{function} has no argument {name!r}. Did you mean {near[0]!r}?")


def check(name: str, value: object, hint: Any) -> None:
    """InputError that says what was expected, unless the value is of the annotated type."""
    if not _fits(value, hint):
        words = [one for part in _parts(hint) if get_origin(part) is Literal for one in get_args(part)]
        near = did_you_mean(value, words) if isinstance(value, str) and words else ""
        raise InputError(f"{name}: expected {expected(hint)}, got {_shown(value)}.{near}".removesuffix("."))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _parts(hint: Any) -> list[Any]:
    """The types of a union, where a path goes without saying that it may be a text."""
    parts = list(get_args(hint)) if get_origin(hint) in (Union, UnionType) else [hint]
    return [part for part in parts if not (part is str and Path in parts)]


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type. Elements of iterators, which can be read only once, are not looked at."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        no_path = Path in inner and isinstance(value, str) and (value == "" or "\0" in value)
        return not no_path and any(_fits(value, part) for part in inner)
    if origin is Annotated:
        return _fits(value, inner[0]) and not any(_outside(value, bound) for bound in _bounds(inner[1:]))
    if origin is Literal:
        return any(type(value) is type(word) and value == word for word in inner)
    if hint in (int, float):
        number = isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
        return number and math.isfinite(value)
    kind: Any = origin or hint
    if kind in (None, NoneType, Any) or not isinstance(kind, type):
        return value is None or kind not in (None, NoneType)
    if kind is collections.abc.Callable:
        return callable(value)
    is_one = isinstance(value, kind)
    if not is_one or (kind is not str and isinstance(value, str | bytes)):
        return False
    if isinstance(value, Mapping):
        return len(inner) == 2 and all(_fits(key, inner[0]) and _fits(each, inner[1]) for key, each in value.items())
    if kind is tuple and inner and inner[-1] is not Ellipsis:
        return len(value) == len(inner) and all(map(_fits, value, inner))
    if inner and isinstance(value, list | tuple | set | frozenset):
        return all(_fits(each, inner[0]) for each in value)
    return True


_LISTS = (list, tuple, set, frozenset, Iterable, Sequence)
_WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "text", None: "None", NoneType: "None"}
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than", "multiple_of": "a multiple of"}


def expected(hint: Any, metadata: Iterable[object] = ()) -> str:
    """A type in words: "a whole number of at least 1 or None". `metadata`: bounds, as of pydantic's fields."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return expected(inner[0], _bounds(inner[1:]))
    if origin in (Union, UnionType):
        return " or ".join(expected(part, metadata if part in (int, float) else ()) for part in _parts(hint))
    if origin is Literal:
        return " or ".join(repr(word) for word in inner)
    kind = origin or hint
    if kind is Path:
        return "a path"
    if kind is collections.abc.Callable:
        return "a function"
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return f"a dict with {_plural(inner[0])} as keys" if inner else "a dict"
    if kind is tuple and inner and inner[-1] is not Ellipsis:
        return f"({', '.join(map(expected, inner))})"
    if kind in _LISTS:
        return f"a list of {' or '.join(_plural(part) for part in _parts(inner[0]))}" if inner else "a list"
    known = _WORDS.get(kind, getattr(kind, "__name__", str(kind)))
    return known + _said(metadata)


def _said(metadata: Iterable[object]) -> str:
    """Bounds in words, after a noun."""
    bounds = {key: _number(getattr(b, key)) for b in metadata for key in _BOUNDS if _has(b, key)}
    if {"ge", "le"} <= bounds.keys():
        span = f" from {bounds.pop('ge')} to {bounds.pop('le')}"
        return span + "".join(f", {_BOUNDS[key]} {value}" for key, value in bounds.items())
    return " of " * bool(bounds) + " and ".join(f"{_BOUNDS[key]} {value}" for key, value in bounds.items())


def _number(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _plural(hint: Any) -> str:
    return {str: "texts", Path: "paths", int: "whole numbers", float: "numbers"}.get(hint, expected(hint))


def _bounds(metadata: Iterable[object]) -> list[object]:
    """Bounds in annotations: pydantic's fields hold theirs as a list."""
    return [bound for item in metadata for bound in getattr(item, "metadata", [item])]


def _has(bound: object, key: str) -> bool:
    return getattr(bound, key, None) is not None


def _outside(value: Any, bound: Any) -> bool:
    return (
        (_has(bound, "ge") and value < bound.ge)
        or (_has(bound, "gt") and value <= bound.gt)
        or (_has(bound, "le") and value > bound.le)
        or (_has(bound, "lt") and value >= bound.lt)
    )

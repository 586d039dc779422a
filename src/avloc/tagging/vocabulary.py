"""Words as groups of tagger classes.

A word is looked up in the user's vocabulary, in ours (data/words.csv), and among the names of the classes, also without
a plural ending or spaces. Last, a phrase of two known words ("dog barking") takes the frames of the first and the
sounds that both share.

    word,sense,classes
    dog;puppy,audio,Dog;Bark                       word: several spellings joined by ;
    dog;puppy,frames,Chihuahua..Mexican hairless   classes: names joined by ;, or first..last of the class list
    door bell,audio,Doorbell
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from avloc.config.arguments import check
from avloc.errors import FormatError, InputError, did_you_mean, first_few
from avloc.formats.labels import TableReader, read_text
from avloc.system.text import nfc
from avloc.tagging.classes import SENSES, SHOWN, ClassList, Sense, class_list, data_lines, folded

_SENSES: Mapping[str, Sense] = {
    **dict.fromkeys(("audio", "sound"), "audio"),
    **dict.fromkeys(("frames", "visual", "image", "video"), "visual"),
}
_HEADER = ("word", "sense", "classes")
MOST_WORDS = 500
"""Words of one request: more is a mistake, such as a text in place of a list."""

_Groups = dict[str, dict[Sense, tuple[int, ...]]]


@dataclass(frozen=True)
class Concept:
    """A word and the classes that stand for it; at least one of `audio` and `visual` is not empty.

    Args:
        word: as the user wrote it.
        audio: indices into AudioSet's list. visual: indices into ImageNet's list.
        how: how it was found, for messages.
    """

    word: str
    audio: tuple[int, ...] = ()
    visual: tuple[int, ...] = ()
    how: str = ""

    def classes(self, sense: Sense) -> tuple[int, ...]:
        """`audio` or `visual`."""
        return self.audio if sense == "audio" else self.visual

    def describe(self, most: int = 4) -> str:
        """The classes in words: "audio Dog, Bark; frames Chihuahua, ... (118)"."""
        parts = []
        for sense, shown in SHOWN.items():
            names = [class_list(sense).short(index) for index in self.classes(sense)]  # type: ignore[arg-type]
            if names:
                parts.append(f"{shown} {first_few(names, most)}" + (f" ({len(names)})" if len(names) > most else ""))
        return "; ".join(parts)


@dataclass(frozen=True)
class MappedWords:
    """Words that map to classes, and those that do not.

    Args:
        concepts: in the order of the words.
        unmapped: {word: what could be meant, in words}.
    """

    concepts: tuple[Concept, ...]
    unmapped: Mapping[str, str]

    def notes(self) -> list[str]:
        """One line per unmapped word and per word read as a phrase."""
        told = [f"{c.word!r} is read as {c.how}: {c.describe()}" for c in self.concepts if c.how]
        return [*unmapped_notes(self.unmapped), *told]


def unmapped_notes(unmapped: Mapping[str, str], what: str = "") -> list[str]:
    """One line per word that maps to no class, or one for all if they are many.

    Args:
        unmapped: {word: what could be meant, in words}.
        what: what becomes of the words, after a semicolon.
    """
    if len(unmapped) > _TOLD:
        return [
            f"{len(unmapped)} words map to no class of the taggers{what}: {first_few(list(map(repr, unmapped)), _TOLD)}"
        ]
    return [f"{word!r} maps to no class of the taggers{what}.{near}" for word, near in unmapped.items()]


_TOLD = 5
"""Up to so many unmapped words have a line each."""


@dataclass(frozen=True)
class Vocabulary:
    """Words known besides the names of the classes.

    Args:
        groups: {folded word: {sense: classes}}.
        words: words in the order of a user's file, as written there; () for ours.
        notes: what was merged.
    """

    groups: _Groups
    words: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    _known: dict[str, Concept | None] = field(default_factory=dict, repr=False, compare=False)

    def find(self, word: str) -> Concept | None:
        """The concept of a word or phrase; None if it maps to nothing."""
        if word not in self._known:
            self._known[word] = self._single(word) or self._phrase(word)
        return self._known[word]

    def nearest(self, word: str) -> str:
        """`" Did you mean 'x' or 'y'?"`, from similar words and from words that the phrase contains."""
        known = {*self.groups, *(name for sense in SENSES for name in class_list(sense).by_name)}
        text = folded(word)
        near = difflib.get_close_matches(text, known, n=2, cutoff=0.75)
        parts = [part for part in text.split() if len(part) > 2 and self._single(part) is not None]
        found = list(dict.fromkeys([*near, *parts]))[:3]
        return f" Did you mean {' or '.join(map(repr, found))}?" if found else ""

    def _single(self, word: str) -> Concept | None:
        for text in _forms(folded(word)):
            if text in self.groups:
                group = self.groups[text]
                return Concept(word, group.get("audio", ()), group.get("visual", ()))
            named = {sense: class_list(sense).by_name.get(text, ()) for sense in SENSES}
            if any(named.values()):
                return Concept(word, named["audio"], named["visual"])
        return None

    def _phrase(self, word: str) -> Concept | None:
        """ "dog barking": the frames of the first part, and the sounds that both parts share, or the first's."""
        parts = folded(word).split()
        for cut in range(1, len(parts)):
            first, second = self._single(" ".join(parts[:cut])), self._single(" ".join(parts[cut:]))
            if first is None or second is None or not second.audio:
                continue
            shared = tuple(sorted({*first.audio} & {*second.audio}))
            audio = shared or first.audio or second.audio
            return Concept(word, audio, first.visual, f"{first.word!r} and {second.word!r}")
        return None


def map_words(words: Iterable[str], vocabulary: Vocabulary | None = None) -> MappedWords:
    """Map words to classes.

    Raises:
        InputError: no word, an empty word, a word twice, more than `MOST_WORDS`, or none that maps to a class.
    """
    known = vocabulary or our_vocabulary()
    given = check_words(words)
    found = {word: known.find(word) for word in given}
    concepts = tuple(concept for concept in found.values() if concept is not None)
    unmapped = {word: known.nearest(word) for word, concept in found.items() if concept is None}
    if not concepts:
        first = next(iter(unmapped))
        raise InputError(
            f"no word maps to a class of the taggers, first {first!r}.{unmapped[first]} Give the classes of each word "
            "in a table with the columns word,sense,classes (--vocabulary)"
        )
    return MappedWords(concepts, unmapped)


def check_words(words: Iterable[str]) -> tuple[str, ...]:
    """The words without surrounding space, in Unicode's form NFC. Raises InputError; see `map_words`."""
    listed = list(words)
    check("words", listed, list[str])
    given = [nfc(" ".join(word.split())) for word in listed]
    if not any(given):
        raise InputError("expected words, got none; write for example: dog barking; glass breaking")
    if not all(given):
        raise InputError(f"word {given.index('') + 1} of {len(given)} is empty; remove it")
    if len(given) > MOST_WORDS:
        raise InputError(f"expected at most {MOST_WORDS} words, got {len(given)}; shorten the list")
    seen: dict[str, str] = {}
    for word in given:
        if folded(word) == "background":
            raise InputError("background is not a word to look for: it is what remains where none is found; remove it")
        if folded(word) in seen:
            raise InputError(f"the word {word!r} is given twice (also as {seen[folded(word)]!r}); keep one")
        seen[folded(word)] = word
    return tuple(given)


def parse_prompts(given: str) -> tuple[str, ...]:
    """Prompts from "dog barking; glass breaking", or from a text file with one a line; blank lines are skipped.

    Raises:
        InputError: no prompt, an empty one, one twice, more than 500, no such file, or a folder.
    """
    path = Path(given)
    if given.endswith((".txt", "/")) and path.is_dir():
        raise InputError(f"--prompts {given}: expected prompts joined by ; or a file with one a line, got a folder")
    if given.endswith(".txt") or (";" not in given and _is_file(path)):
        if not _is_file(path):
            raise InputError(f"--prompts {given}: no such file; give prompts joined by ; or a file with one a line")
        return check_words(line for line in read_text(path).splitlines() if line.strip())
    return check_words(given.strip().removesuffix(";").split(";"))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long for a path
        return False


@lru_cache(maxsize=1)
def our_vocabulary() -> Vocabulary:
    """The words that come with avloc, data/words.csv."""
    return _parse("words.csv", "\n".join(data_lines("words.csv")))


def read_vocabulary(path: Path | str) -> Vocabulary:
    """Read a user's vocabulary in the format above; its words come first, and replace ours.

    Raises:
        InputError: no such file, or no word in it.
        FormatError: no header, an unknown sense, an unknown class or range; with line numbers.
    """
    own = _parse(path, read_text(path))
    if not own.words:
        raise InputError(f"{path}: expected at least one row word,sense,classes after the header, got none")
    return Vocabulary({**our_vocabulary().groups, **own.groups}, own.words, own.notes)


def _parse(path: Path | str, text: str) -> Vocabulary:
    groups: _Groups = {}
    words: dict[str, str] = {}
    notes: list[str] = []
    for line, cells in _rows(path, text):
        sense = _SENSES.get(cells["sense"].lower())
        if sense is None:
            raise FormatError(f"{path}: line {line}: expected the sense audio or frames, got {cells['sense']!r}")
        classes = _classes(path, line, class_list(sense), cells["classes"])
        spellings = [word for word in map(str.strip, cells["word"].split(";")) if word]
        if not spellings:
            raise FormatError(f"{path}: line {line}: expected a word in column word")
        words.setdefault(folded(spellings[0]), spellings[0])
        for word in spellings:
            group = groups.setdefault(folded(word), {})
            if sense in group:
                notes.append(f"line {line}: {word!r} has {cells['sense']} classes already: merged")
            group[sense] = tuple(dict.fromkeys((*group.get(sense, ()), *classes)))
    return Vocabulary(groups, tuple(words.values()), tuple(notes))


def _rows(path: Path | str, text: str) -> Iterable[tuple[int, dict[str, str]]]:
    """(line number, cells by column) of every row that is not blank or a comment."""
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    for delimiter in ",;\t":
        header = [cell.strip().lower() for cell in next(TableReader(path, first, delimiter), [])]
        if set(_HEADER) <= set(header):
            break
    else:
        raise FormatError(f"{path}: expected the header word,sense,classes in the first line, got {first[:80]!r}")
    reader, begun = TableReader(path, text, delimiter), False
    for row in reader:
        cells = [cell.strip() for cell in row]
        if not any(cells) or cells[0].startswith("#"):
            continue
        if not begun:
            begun = True
        elif len(cells) != len(header):
            raise FormatError(
                f"{path}: line {reader.line_num}: expected {len(header)} cells, got {len(cells)}; put quotes around "
                "class names with commas"
            )
        else:
            yield reader.line_num, dict(zip(header, cells, strict=True))


def _classes(path: Path | str, line: int, known: ClassList, cell: str) -> tuple[int, ...]:
    names = [name for name in cell.split(";") if name.strip()]
    if not names:
        raise FormatError(f"{path}: line {line}: expected classes of {known.title} in column classes, got none")
    chosen: list[int] = []
    for name in names:
        try:
            chosen += known.select(name)
        except KeyError as error:
            hint = did_you_mean(folded(error.args[0]), known.by_name)
            hint = hint if hint.startswith(" Did") else ""
            raise FormatError(f"{path}: line {line}: {known.title} has no class {error.args[0]!r}.{hint}") from None
        except ValueError as error:
            raise FormatError(f"{path}: line {line}: {error}") from None
    return tuple(dict.fromkeys(chosen))


def _forms(text: str) -> Sequence[str]:
    """The text, as one word ("door bell"), and without a plural ending."""
    forms = [text, text.replace(" ", "")]
    for ending, instead in (("ies", "y"), ("es", ""), ("s", "")):
        if text.endswith(ending) and len(text) > len(ending) + 2:
            forms.append(text.removesuffix(ending) + instead)
    return forms

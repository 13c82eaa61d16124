"""What a normaliser and a pre-tokenizer make of each character, where they go by characters alone: asked of the library, as they come.

Tested in tests/tokenreel/vocabularies/test_word_path.py.
"""

from __future__ import annotations

import dataclasses
import threading
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.ragged import Ints
from tokenreel.vocabularies.pre_tokenizers.code_points import END
from tokenreel.vocabularies.pre_tokenizers.plain_letters import Run, joins

Bytes = npt.NDArray[np.uint8]
_KINDS = "a1!+"  # a letter, a digit, a mark of punctuation, a symbol: what steps tell apart
_BETWEEN = "zz"  # a word that nothing asked for becomes
_SET_APART = f" {_BETWEEN} "
_ASKED = 256  # texts at once
# How many new characters of a text are asked for: of all that it has, if they are no more, or else, since the library encodes what has
# others; at the beginning; and at most those that were saved up. A document costs the library as much as twenty characters.
_SHARE, _SHARE_OF_OTHERS, _FIRST_CREDIT, _MOST_CREDIT, _DOCUMENT = 1 / 64, 1 / 4000, 150.0, 5000.0, 20
# Alphabets, punctuation, symbols, forms of other widths and emoji, with what modifies these: of them, those that Python's Unicode knows.
_COMMON = ((0, 0x3400), (0xFE00, 0xFE70), (0xFF00, 0xFFF0), (0x1F100, 0x1FB00))
_FEW = 16  # to ask for fewer takes as long
_BYTES = 3  # of a character that is new, about


@dataclasses.dataclass(frozen=True)
class Letter:
    """What becomes of a character.

    Attributes:
      kind: its class in `kernels.word_units`.
      written: what is written for it, with the byte 0xFF where words end; None where it takes the library to say.
    """

    kind: int
    written: bytes | None


def of_words(
    normalize: Callable[[str], str], words_of: Callable[[str], list[str]], characters: str, *, decomposes: bool, composes: bool
) -> list[Letter]:
    """Asks what steps do that end words at single characters and leave spaces out.

    Args:
      normalize: gives the normal form of a text.
      words_of: gives the words of a text, which is not normal yet.
      characters: which ones.
      decomposes: whether a step puts marks into order.
      composes: whether a step joins characters.
    """
    framed = [f"a{character}a" for character in characters]
    words = _apart(words_of, framed)
    alone = set()
    # Where the normaliser writes spaces around a character, words end there.
    normals = normalize(_SET_APART.join(framed)).split(_SET_APART)
    if len(normals) == len(framed):
        alone = {character for character, normal in zip(characters, normals, strict=True) if normal[:2] == "a " and normal[-2:] == " a"}
    betweens = {
        character: parts[1:-1]
        for character, parts in zip(characters, words, strict=True)
        if _stands_alone(parts) and parts[1:-1] and character not in alone
    }
    # All that `_is_alone` asks one by one.
    rows = _apart(words_of, [f"a{2 * each}{''.join(kind + each for kind in _KINDS[1:])}a" for each in betweens])
    for (character, between), row in zip(betweens.items(), rows, strict=True):
        expected = ["a", *between, *between, *(part for kind in _KINDS[1:] for part in (kind, *between)), "a"]
        if row == expected or _is_alone(words_of, character, between):
            alone.add(character)
    return [
        _of_words(words_of, character, parts, character in alone, decomposes=decomposes, composes=composes)
        for character, parts in zip(characters, words, strict=True)
    ]


def _apart(words_of: Callable[[str], list[str]], texts: Sequence[str]) -> list[list[str]]:
    """Gives the words of each of some texts: asks for all at once, with words between them that tell where each ends."""
    if len(texts) > _ASKED:
        return [words for i in range(0, len(texts), _ASKED) for words in _apart(words_of, texts[i : i + _ASKED])]
    found: list[list[str]] = [[]]
    for word in words_of(_SET_APART.join(texts)):
        if word == _BETWEEN:
            found.append([])
        else:
            found[-1].append(word)
    return found if len(found) == len(texts) else [words_of(text) for text in texts]


def _stands_alone(parts: Sequence[str]) -> bool:
    return len(parts) > 1 and parts[0] == parts[-1] == "a"


def _of_words(
    words_of: Callable[[str], list[str]], character: str, parts: list[str], is_alone: bool, *, decomposes: bool, composes: bool
) -> Letter:
    """Reads what becomes of a character from the words of it between two letters."""
    from tokenreel.vocabularies.unit_memo.kernels import word_units

    if parts[0][:1] != "a" or parts[-1][-1:] != "a" or parts == ["a"]:
        return Letter(word_units.GLUED, None)
    joined = b"\xff".join(part.encode() for part in parts)[1:-1]
    between, kind = parts[1:-1], word_units.GLUED
    alone = _stands_alone(parts)
    if joins(character) or not joined:
        pass
    elif len(parts) == 1:
        kind = word_units.WORD
    elif alone and not between:
        kind = word_units.SPACE
    elif is_alone:
        kind = word_units.ALONE
    elif alone and words_of(2 * character) == [2 * between[0]] and words_of(f"{character}!") == [f"{between[0]}!"]:
        kind, joined = word_units.LIKE, between[0].encode()  # ends where the class changes
    left = joined.replace(b"\xff", b"").decode()
    moves = decomposes and (
        any(map(unicodedata.combining, left)) or (left != "" and joins(character) and unicodedata.category(character) == "Cn")
    )
    unclear = len(parts) > 1 and kind == word_units.GLUED
    return Letter(kind, None if moves or unclear or (composes and not character.isascii()) else joined)


def _is_alone(words_of: Callable[[str], list[str]], character: str, between: list[str]) -> bool:
    """Tells whether a character is apart from its like, and from characters of other kinds."""
    return words_of(2 * character) == 2 * between and all(
        words_of(other + character) == [other, *between] and words_of(character + other) == [*between, other] for other in _KINDS
    )


def lay_out(ask: Callable[[str], Sequence[Letter]], runs: Sequence[Run]) -> dict[str, npt.NDArray[Any]]:
    """Asks for the characters that most texts are written in.

    Args:
      ask: says what becomes of each of some characters.
      runs: of characters that steps write as they are.

    Returns:
      the `points` asked for, int32, with their `kinds`, uint8, and `rows`, int32 (see `Letters`); the `text` that the rows from 0 on stand
      for, uint8 with int64 `bounds`; and the [n, 3] int32 `runs`.
    """
    from tokenreel.vocabularies.unit_memo.kernels import word_units

    in_runs = {point for first, end, _ in runs for point in range(first, end)}
    points = [
        point
        for first, end in _COMMON
        for point in range(first, end)
        if point not in in_runs and (point < 0x80 or unicodedata.category(chr(point)) != "Cn")
    ]
    found = ask("".join(map(chr, points)))
    numbers: dict[bytes, int] = {}
    rows = [word_units.HARD if each.written is None else numbers.setdefault(each.written, len(numbers)) for each in found]
    return {
        "points": np.array(points, dtype=np.int32),
        "kinds": np.array([each.kind for each in found], dtype=np.uint8),
        "rows": np.array(rows, dtype=np.int32),
        "text": np.frombuffer(b"".join(numbers), dtype=np.uint8),
        "bounds": ragged.offsets_of(np.fromiter(map(len, numbers), dtype=np.int64, count=len(numbers))),
        "runs": np.array(runs, dtype=np.int32).reshape(-1, 3),
    }


class Letters:
    """The characters that were asked for. Threads share it.

    Attributes:
      kinds: [code points] uint8, their classes.
      rows: [code points] int32, what is written for each, or what `kernels.word_units` has in its place.
    """

    def __init__(self, ask: Callable[[str], Sequence[Letter]], known: Mapping[str, npt.NDArray[Any]]) -> None:
        """Begins with what is known.

        Args:
          ask: says what becomes of each of some characters.
          known: the arrays of `lay_out`.
        """
        from tokenreel.vocabularies.unit_memo.kernels import word_units

        self._ask, self._lock = ask, threading.Lock()
        self.kinds = np.full(END, word_units.UNSEEN, dtype=np.uint8)
        self.rows = np.full(END, word_units.HARD, dtype=np.int32)
        for first, end, row in known["runs"].tolist():
            self.rows[first:end], self.kinds[first:end] = row, word_units.ALONE if row == word_units.APART else word_units.WORD
        self.rows[known["points"]], self.kinds[known["points"]] = known["rows"], known["kinds"]
        self._credit, self._credit_of_others = _FIRST_CREDIT, 0.0
        self._arrays = self._room = known["text"].copy(), known["bounds"].copy()  # of the first, the second has more than is used
        self._numbers: dict[bytes, int] = {}  # of what was learned since
        self._first_number = len(known["bounds"]) - 1

    @property
    def written(self) -> tuple[Bytes, Ints]:
        """What is written: [bytes] uint8 end to end, and [rows + 1] int64 bounds."""
        return self._arrays

    def learn(self, text: Bytes, bounds: Ints) -> npt.NDArray[np.bool_]:
        """Asks for the characters of documents that are not known yet, as many as it is worth while for.

        To ask for a character takes as long as the library takes for several in a text, so that where most characters come for the first
        time, it is faster to leave the documents to the library.

        Args:
          text: [bytes] uint8, UTF-8, documents end to end.
          bounds: [n + 1] int64.

        Returns:
          [n] bool, which documents have characters that are still not known.
        """
        from tokenreel.vocabularies.unit_memo.kernels.word_units import has_unseen, unseen_characters

        size = len(text) - int(np.count_nonzero((text & 0xC0) == 0x80)) + _DOCUMENT * (len(bounds) - 1)
        with self._lock:
            most = int(size * _SHARE + self._credit)
            new, counts = unseen_characters(text, self.kinds, most)
            if len(new) <= most:
                self._credit = min(self._credit + size * _SHARE - len(new), _MOST_CREDIT)
            else:
                self._credit_of_others += size * _SHARE_OF_OTHERS
                asked = int(self._credit_of_others) if self._credit_of_others >= _FEW else 0
                self._credit_of_others -= asked
                new = new[np.argsort(-counts, kind="stable")[:asked]]
            if len(new):
                self._learn(new.tolist())
            left: npt.NDArray[np.bool_] = has_unseen(text, bounds, self.kinds)
        return left

    def leave(self, size: int) -> None:
        """Takes how many bytes were left to the library without a look."""
        with self._lock:
            self._credit_of_others = min(self._credit_of_others + size / _BYTES * _SHARE_OF_OTHERS, _MOST_CREDIT)

    def _learn(self, points: Sequence[int]) -> None:
        found = [*zip(points, self._ask("".join(map(chr, points))), strict=True)]
        new: list[bytes] = []
        for _, letter in found:
            if letter.written is not None and letter.written not in self._numbers:
                self._numbers[letter.written] = self._first_number + len(self._numbers)
                new.append(letter.written)
        # Another thread reads meanwhile: whoever sees the class of a character must find what is written for it. What arrays hold stays.
        (text, bounds), count = self._room, self._first_number + len(self._numbers)
        used = int(bounds[count - len(new)])
        ends = used + np.cumsum(np.fromiter(map(len, new), dtype=np.int64, count=len(new)))
        stop = int(ends[-1]) if new else used
        if stop > len(text) or count >= len(bounds):
            text, bounds = (
                np.concatenate([text[:used], np.empty(stop, dtype=np.uint8)]),
                np.concatenate([bounds, np.empty(count, np.int64)]),
            )
        text[used:stop] = np.frombuffer(b"".join(new), dtype=np.uint8)
        bounds[count - len(new) + 1 : count + 1] = ends
        self._room, self._arrays = (text, bounds), (text[:stop], bounds[: count + 1])
        for point, letter in found:
            if letter.written is not None:
                self.rows[point] = self._numbers[letter.written]
        for point, letter in found:
            self.kinds[point] = letter.kind

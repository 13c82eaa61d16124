"""What a normaliser and a pre-tokenizer make of each character, where they go by characters alone: asked of the library, as they come.

Tested in tests/tokenreel/vocabularies/test_word_path.py.
"""

from __future__ import annotations

import dataclasses
import threading
import unicodedata
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from tokenreel.ragged import Ints
from tokenreel.vocabularies.pre_tokenizers.code_points import END

Bytes = npt.NDArray[np.uint8]
_JAMO = {*range(0x1160, 0x1200), *range(0xD7B0, 0xD800)}  # of vowels and finals, which join what stands before them
_KINDS = "a1!+"  # a letter, a digit, a mark of punctuation, a symbol: what steps tell apart


@dataclasses.dataclass(frozen=True)
class Letter:
    """What becomes of a character.

    Attributes:
      kind: its class in `kernels.word_units`.
      written: what is written for it, with the byte 0xFF where words end; None where it takes the library to say.
    """

    kind: int
    written: bytes | None


def joins(character: str) -> bool:
    r"""Tells whether a character may join the one before it: marks, and what Python's Unicode does not know.

    >>> joins("\u0301"), joins("a"), joins("\u0378")
    (True, False, True)
    """
    category = unicodedata.category(character)
    return category[0] == "M" or category == "Cn" or ord(character) in _JAMO


def of_words(words_of: Callable[[str], list[str]], character: str, *, decomposes: bool, composes: bool) -> Letter:
    """Asks what steps do that end words at single characters and leave spaces out.

    Args:
      words_of: gives the words of a text.
      character: which one.
      decomposes: whether a step puts marks into order.
      composes: whether a step joins characters.
    """
    from tokenreel.vocabularies.unit_memo.kernels import word_units

    parts = words_of(f"a{character}a")
    if parts[0][:1] != "a" or parts[-1][-1:] != "a" or parts == ["a"]:
        return Letter(word_units.GLUED, None)
    joined = b"\xff".join(part.encode() for part in parts)[1:-1]
    between, kind = parts[1:-1], word_units.GLUED
    alone = parts[0] == parts[-1] == "a"
    if joins(character) or not joined:
        pass
    elif len(parts) == 1:
        kind = word_units.WORD
    elif alone and not between:
        kind = word_units.SPACE
    elif alone and _is_alone(words_of, character, between):
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


class Letters:
    """The characters that were asked for. Threads share it.

    Attributes:
      kinds: [code points] uint8, their classes.
      rows: [code points] int32, what is written for each, or `kernels.word_units.HARD`.
    """

    def __init__(self, ask: Callable[[str], Letter]) -> None:
        """Knows nothing but ASCII.

        Args:
          ask: says what becomes of a character.
        """
        from tokenreel.vocabularies.unit_memo.kernels import word_units

        self._ask, self._lock = ask, threading.Lock()
        self.kinds = np.full(END, word_units.UNSEEN, dtype=np.uint8)
        self.rows = np.full(END, word_units.HARD, dtype=np.int32)
        self._numbers: dict[bytes, int] = {}
        self._arrays = np.zeros(0, dtype=np.uint8), np.zeros(1, dtype=np.int64)
        self._learn(range(128))

    @property
    def written(self) -> tuple[Bytes, Ints]:
        """What is written: [bytes] uint8 end to end, and [rows + 1] int64 bounds."""
        return self._arrays

    def learn(self, text: Bytes) -> None:
        """Asks for all characters of a text ([bytes] uint8, UTF-8) that are not known yet."""
        from tokenreel.vocabularies.unit_memo.kernels import word_units

        points = np.unique(np.frombuffer(text.tobytes().decode().encode("utf-32-le"), dtype=np.uint32))
        with self._lock:
            self._learn(points[self.kinds[points] == word_units.UNSEEN].tolist())

    def _learn(self, points: Iterable[int]) -> None:
        found = [(point, self._ask(chr(point))) for point in points]
        numbers = {**self._numbers}
        for _, letter in found:
            if letter.written is not None:
                numbers.setdefault(letter.written, len(numbers))
        # Another thread reads meanwhile: whoever sees the class of a character must find what is written for it.
        lengths = np.fromiter(map(len, numbers), dtype=np.int64, count=len(numbers))
        self._arrays = np.frombuffer(b"".join(numbers), dtype=np.uint8), np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
        self._numbers = numbers
        for point, letter in found:
            if letter.written is not None:
                self.rows[point] = numbers[letter.written]
        for point, letter in found:
            self.kinds[point] = letter.kind

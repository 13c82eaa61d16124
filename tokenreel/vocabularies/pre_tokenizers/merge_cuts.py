"""From the merges of a model of characters to the automaton that cuts where none of them can join the two sides.

Tested in tests/tokenreel/vocabularies/test_metaspace_path.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from tokenreel.vocabularies.pre_tokenizers.automata import DEAD, Automaton
from tokenreel.vocabularies.pre_tokenizers.code_points import END
from tokenreel.vocabularies.pre_tokenizers.recognition import Cutter

_MOST_CLASSES = 250  # numbers of classes are bytes
_FIRST_STATE = 2  # after a character of class 0; state 1 is the beginning
_OTHERS = 0  # the class of characters that no merge has at a bound


def cut_at_spaces() -> Cutter:
    """Cuts before each space."""
    classes = np.zeros(END, dtype=np.uint8)
    classes[ord(" ")] = 1
    return Cutter(classes, _automaton(np.array([[True, False], [True, False]])))


def for_merges(merges: Iterable[tuple[str, str]], *, splits: bool, known: Collection[str] = ()) -> Cutter:
    """Cuts between two characters where no merge has them side by side.

    A merge that joins two sides joins a piece that ends with the one character and a piece that begins with the other. Where there is no
    such merge, nothing ever joins the sides, whatever stands around.

    Args:
      merges: pairs of pieces, whose spaces are spaces.
      splits: whether spaces begin words, before which a text is cut in any case.
      known: the characters that are pieces, where others become one token side by side; else empty.
    """
    pairs = {(left[-1], right[0]) for left, right in merges if left and right}
    numbers = _classes(pairs)
    classes = np.full(END, _OTHERS, dtype=np.uint8)
    for character, number in numbers.items():
        classes[ord(character)] = number
    count = max(numbers.values(), default=_OTHERS) + 1
    joined = np.zeros((count + bool(known), count + bool(known)), dtype=bool)
    for left, right in pairs:
        joined[numbers[left], numbers[right]] = True
    if known:
        joined[_OTHERS, _OTHERS] = True
        for character in known:
            if character not in numbers:
                classes[ord(character)] = count
    if splits:
        joined[:, numbers[" "]] = False
    return Cutter(classes, _automaton(joined))


def _classes(pairs: Collection[tuple[str, str]]) -> dict[str, int]:
    """Numbers the classes of characters from 1 on, a space by itself: as fine as the numbers allow it.

    Coarse classes only make for fewer cuts. Letters of ASCII are two classes, so that tables of pairs of ASCII characters stay small.
    """
    behind: dict[str, set[str]] = {" ": set()}
    before: dict[str, set[str]] = {" ": set()}
    for left, right in pairs:
        behind.setdefault(left, set()).add(right)
        before.setdefault(right, set()).add(left)
    characters = sorted(behind.keys() | before.keys())
    for grouped in _groupings():
        groups: dict[object, int] = {}
        numbers = {}
        for character in characters:
            group = grouped(character)
            if group is None:  # those with the same neighbours
                group = frozenset(behind.get(character, ())), frozenset(before.get(character, ()))
            numbers[character] = groups.setdefault(group, len(groups) + 1)
        if len(groups) <= _MOST_CLASSES:
            break
    return numbers


def _groupings() -> Iterator[Callable[[str], object]]:
    """Yields ways to put characters into groups, the finest first; None is for those that go by their neighbours."""

    def ascii_group(character: str) -> object:
        if character.isalpha():
            return "A" if character.isupper() else "a"
        return character if character == " " else None

    def grouping(bits: int, most: int) -> Callable[[str], object]:
        """Blocks of 2 ** `bits` characters: of letters above ASCII (`most` is 1), or of all above ASCII (0)."""
        return lambda character: (
            ascii_group(character) if character < "\x80" else ord(character) >> bits if character.isalnum() or not most else None
        )

    yield lambda character: ascii_group(character) if character < "\x80" else None
    for most, bits in itertools.product((1, 0), range(2, 22, 2)):
        yield grouping(bits, most)


def _automaton(joined: npt.NDArray[np.bool_]) -> Automaton:
    """Makes the automaton that ends a unit between two classes, unless they are joined: [classes, classes] bool."""
    count = len(joined)
    table = np.full((_FIRST_STATE + count, count + 1), 2 * DEAD + 1, dtype=np.int32)
    after = 2 * (_FIRST_STATE + np.arange(count, dtype=np.int32))
    table[DEAD] = 2 * DEAD
    table[_FIRST_STATE - 1] = [*after, 2 * DEAD]
    table[_FIRST_STATE:, :-1] = np.where(joined, after, 2 * DEAD + 1)
    return Automaton(table, np.zeros(count, dtype=np.uint8))

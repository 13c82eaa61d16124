r"""Compiles patterns into automata that read a text once, character by character.

A pattern's alternatives and repeats are tried in an order, and the first way that matches counts, as if by backtracking. All ways are
followed side by side in that order (Pike 1987; `regex-automata` calls it leftmost-first): a state is the list of the places in the pattern
where a match may stand, best first, and a way that matches ends all that come behind it. What a place asks of the next character
(`(?!\S)`, the end of the text) is answered when that character is read, so matches are noticed one character late.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tokenreel.vocabularies.pre_tokenizers.code_points import Bounds
from tokenreel.vocabularies.pre_tokenizers.patterns import Ahead, Chars, Either, Joined, Node, PatternError, Repeat

_MOST_STATES = 2000
_MOST_PAIRS = 1 << 20  # entries of four bytes; GPT-4o's pattern has some 100,000
DEAD, START = 0, 1  # states


@dataclasses.dataclass(frozen=True)
class Automaton:
    """Cuts texts into units: the matches, and what lies between them.

    Attributes:
      table: [states, classes + 1] int32, what a class of characters, or in the last column the end of the text, makes of a state: twice
        the next one, and 1 more if a match ends before this character. No match can begin or go on in state 0; state 1 is the first.
      regions: [classes] uint8; text between matches is cut where it passes from a region to another one.
      keeps_rest: whether text between matches is a unit; else it is left out.
    """

    table: npt.NDArray[np.int32]
    regions: npt.NDArray[np.uint8]
    keeps_rest: bool = True


def sets_of(node: Node) -> list[Bounds]:
    """Lists the sets of characters in a pattern."""
    if isinstance(node, Chars | Ahead):
        return [node.points]
    parts = [node.part] if isinstance(node, Repeat) else node.parts
    return list(itertools.chain.from_iterable(map(sets_of, parts)))


class _Program:
    """The places of a pattern: what stands at each, and where the match goes on."""

    def __init__(self, node: Node, members: dict[bytes, npt.NDArray[np.bool_]]) -> None:
        """Lays out a pattern.

        Args:
          node: the pattern.
          members: [classes] bool of each set, by the bytes of its bounds.
        """
        self._members = members
        # (classes, next place), or (classes, at the end too?, next place), or places to try in this order, or None where it has matched.
        self.places: list[tuple[str, npt.NDArray[np.bool_] | None, bool, list[int]]] = [("match", None, False, [])]
        self.first = self._add(node, 0)

    def _place(self, kind: str, members: npt.NDArray[np.bool_] | None, end: bool, targets: list[int]) -> int:
        self.places.append((kind, members, end, targets))
        return len(self.places) - 1

    def _add(self, node: Node, after: int) -> int:
        """Lays out a part that goes on at a place; gives its first place."""
        if isinstance(node, Chars):
            return self._place("read", self._members[node.points.tobytes()], False, [after])
        if isinstance(node, Ahead):
            return self._place("ahead", self._members[node.points.tobytes()], node.end, [after])
        if isinstance(node, Joined):
            for part in reversed(node.parts):
                after = self._add(part, after)
            return after
        if isinstance(node, Either):
            return self._place("try", None, False, [self._add(part, after) for part in node.parts])
        if node.most is None:
            loop = self._place("try", None, False, [])
            self.places[loop][3].extend([self._add(node.part, loop), after])
            after = loop
        else:
            end = after
            for _ in range(node.most - node.least):
                after = self._place("try", None, False, [self._add(node.part, after), end])
        for _ in range(node.least):
            after = self._add(node.part, after)
        return after

    def step(self, state: tuple[int, ...], character: int | None) -> tuple[tuple[int, ...], bool]:
        """Reads a class of characters, or None at the end; gives the next state, and whether a match ends before the character."""
        following: dict[int, None] = {}
        seen: set[int] = set()
        todo = list(reversed(state))
        while todo:
            place = todo.pop()
            if place in seen:
                continue
            seen.add(place)
            kind, members, end, targets = self.places[place]
            if kind == "match":
                return tuple(following), True
            if kind == "try":
                todo.extend(reversed(targets))
            elif kind == "ahead":
                if end if character is None else members is not None and members[character]:
                    todo.extend(targets)
            elif character is not None and members is not None and members[character]:
                following.setdefault(targets[0])
        return tuple(following), False


def compile_pattern(node: Node, members: dict[bytes, npt.NDArray[np.bool_]], num_classes: int) -> Automaton:
    """Compiles a pattern.

    Args:
      node: the pattern.
      members: [num_classes] bool which classes each of its sets holds, by the bytes of its bounds.
      num_classes: of characters.

    Raises:
      PatternError: it matches nothing at all somewhere, or has too many states.
    """
    program = _Program(node, members)
    numbers: dict[tuple[int, ...], int] = {(): DEAD, (program.first,): START}
    rows: list[list[int]] = [[0] * (num_classes + 1)]
    states = [(), (program.first,)]
    while len(rows) < len(states):
        row = []
        for character in [*range(num_classes), None]:
            following, matched = program.step(states[len(rows)], character)
            if following not in numbers:
                numbers[following] = len(states)
                states.append(following)
                if len(states) > _MOST_STATES:
                    raise PatternError("it has too many states")
            row.append(2 * numbers[following] + matched)
        rows.append(row)
    table = np.array(rows, dtype=np.int32)
    if (table[START] & 1).any():
        raise PatternError("it matches where nothing stands")
    return Automaton(table, np.zeros(num_classes, dtype=np.uint8))


def within_runs(inner: Automaton, member: npt.NDArray[np.bool_], most: int | None) -> Automaton:
    """Cuts a text into runs of a set's characters and what lies between them, and each of these parts by another automaton.

    The inner automaton takes the end of a part for the end of the text. So characters of the other side act as the end does.

    Args:
      inner: what cuts the parts.
      member: [classes] bool which are of the set.
      most: characters of a run; None for any number.

    Raises:
      PatternError: a run has `most` characters, and the inner automaton would cut it further.
    """
    states, columns = inner.table.shape
    others = inner.table.copy()  # parts of other characters
    others[:, :-1][:, member] = inner.table[:, -1:]
    if most is None:  # state s is `states` + s in a run
        runs = np.where(inner.table >> 1, inner.table + 2 * states, inner.table)
        runs[:, :-1][:, ~member] = inner.table[:, -1:]
        others[START, :-1][member] = runs[START, :-1][member]
    else:  # after n characters of a run the state is `states` + n - 1, and a run is a match
        _check_whole(inner, np.flatnonzero(member).tolist(), most)
        runs = np.ones((most, columns), dtype=np.int32)
        for count in range(1, most):
            runs[count - 1, :-1][member] = 2 * (states + count)
        others[START, :-1][member] = 2 * states
    table = np.concatenate([others, runs]).astype(np.int32)
    regions = 2 * inner.regions + member
    return dataclasses.replace(inner, table=table, regions=regions.astype(np.uint8))


def _check_whole(inner: Automaton, characters: Sequence[int], most: int) -> None:
    """Checks that an automaton leaves every text of up to `most` of some classes in one piece.

    Raises:
      PatternError: it does not.
    """
    if not inner.keeps_rest:
        raise PatternError("it leaves out what it does not match")
    for size in range(2, most + 1):
        if len(characters) ** size > 5000:
            raise PatternError("runs of many kinds of characters are cut further")
        for text in itertools.product(characters, repeat=size):
            if len(cut(inner, text)) > 1:
                raise PatternError("runs of a number of characters are cut further")


ENDS, ONE_BACK, AGAIN = 1, 2, 4
"""Flags of a stream's entries: a unit ends before this character, or before the one before it; or it has to be found by `Automaton`."""


def to_stream(automaton: Automaton) -> npt.NDArray[np.int32]:
    """Makes an automaton that goes on to the next unit by itself, and reads no character twice where units end as they mostly do.

    Its states are those of the automaton, and the classes that were read since the last place where a match ended, if they are one or none.
    Where a match ends and nothing longer can match, the next unit begins with these classes.

    Returns:
      [states, classes + 1] int32: eight times the next state, and flags. State 0 begins a unit. In the last column a text ends, and with it
      the unit, unless the flag is `AGAIN`.
    """
    # A state is (state of the automaton, classes read since the last match; None: nothing has matched yet, or too many were read).
    numbers: dict[tuple[int, tuple[int, ...] | None], int] = {(START, None): 0}
    states: list[tuple[int, tuple[int, ...] | None]] = [(START, None)]
    rows: list[list[int]] = []

    def read(state: tuple[int, tuple[int, ...] | None], character: int) -> tuple[tuple[int, tuple[int, ...] | None], bool]:
        entry = int(automaton.table[state[0], character])
        behind = () if entry & 1 else state[1]
        return (entry >> 1, behind), behind is not None

    def behind(state: tuple[int, tuple[int, ...] | None], character: int) -> tuple[int, tuple[int, ...] | None]:
        return state[0], None if state[1] is None or len(state[1]) == 1 else (*state[1], character)

    def entry(state: tuple[int, tuple[int, ...] | None], character: int) -> int:
        following, matched = read(state, character)
        if character == automaton.table.shape[1] - 1:
            return 0 if matched and not following[1] else AGAIN
        flags = 0
        if following[0] == DEAD:
            if not matched or following[1] is None:
                return AGAIN
            flags = ENDS | (ONE_BACK if following[1] else 0)
            ahead = (*following[1], character)
            following = (START, None)
            for each in ahead:
                following = behind(read(following, each)[0], each)
                if following[0] == DEAD:
                    return AGAIN
        else:
            following = behind(following, character)
        if following not in numbers:
            numbers[following] = len(states)
            states.append(following)
        return 8 * numbers[following] + flags

    while len(rows) < len(states):
        rows.append([entry(states[len(rows)], character) for character in range(automaton.table.shape[1])])
    return np.array(rows, dtype=np.int32)


def to_pairs(stream: npt.NDArray[np.int32], classes: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8]]:
    """Makes what `to_stream` gave read two characters at once, which halves the time it waits for its own last step.

    Args:
      stream: [states, columns] int32.
      classes: [characters] uint8 their classes: those of ASCII.

    Returns:
      [states, k, k] uint32, k a power of two of at least 8, and [characters] uint8 the place of each in a row and in a column. An entry is
      k * k times the next state, and flags: 1 a unit ends before the first character, 2 and that is one back; 4 and 8 likewise of the
      second; 16 they have to be read one by one. No entries where the table would have more than a million.
    """
    used, places = np.unique(classes, return_inverse=True)
    bits = max(3, (len(used) - 1).bit_length())
    if len(stream) << 2 * bits > _MOST_PAIRS:
        return np.zeros((0, 1, 1), dtype=np.uint32), places.astype(np.uint8)
    first = stream[:, used]
    second = stream[first >> 3][:, :, used]
    first = first[:, :, None]
    again = 16 * ((first | second) & AGAIN != 0)
    table = np.zeros((len(stream), 1 << bits, 1 << bits), dtype=np.uint32)
    table[:, : len(used), : len(used)] = (second >> 3 << 2 * bits) | first & 3 | (second & 3) << 2 | again
    return table, places.astype(np.uint8)


def cut(automaton: Automaton, text: Sequence[int]) -> list[int]:
    """Cuts a text of classes as the kernel does; gives the ends of its units. For checks and tests: slow.

    Text between matches that is left out is given, too.
    """
    ends: list[int] = []
    rest = at = 0
    while at < len(text):
        state, last, i = START, at, at
        while state:
            entry = int(automaton.table[state, text[i] if i < len(text) else -1])
            last = i if entry & 1 else last
            state = entry >> 1
            i += 1
        parted = last > at or (at > rest and automaton.regions[text[at]] != automaton.regions[text[rest]])
        if parted and at > rest:
            ends.append(at)
            rest = at
        if last > at:
            ends.append(last)
            rest = last
        at = max(last, at + 1)
    return ends + [at] * (at > rest)

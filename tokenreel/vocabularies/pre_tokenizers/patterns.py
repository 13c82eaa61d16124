r"""Reads the regular expressions of pre-tokenizers.

Their language is small: sets of characters, repeats, alternatives, `(?i:'s|'t)`, and `(?!\S)` behind a run of spaces. Two dialects differ:
the library's (Oniguruma), where `{1,3}+` is a repeat of a repeat and `$` ends a line, and that of rank files (`regex` and `fancy-regex` of
Rust), where `{1,3}+` is possessive and `$` is the end of the text. What is not understood, or would need backtracking to be right, is
refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tokenreel.vocabularies.pre_tokenizers import code_points
from tokenreel.vocabularies.pre_tokenizers.code_points import Bounds

LIBRARY, RANKS = "library", "ranks"  # dialects

_ESCAPES = {"r": "\r", "n": "\n", "t": "\t", "f": "\f", "v": "\v", "0": "\0"}
# Pairs of letters that become one character where case is folded: "(?i:ss)" matches "ß", which no set of single characters says.
_FOLDED_PAIRS = ("ss", "st", "ff", "fi", "fl")
_CASE = {"s": "Ssſ", "k": "Kk\u212a"}  # letters of ASCII that fold with others than their own capital


class PatternError(ValueError):
    """A pattern that is not understood; says what of it."""


@dataclasses.dataclass(frozen=True)
class Chars:
    """One character of a set."""

    points: Bounds


@dataclasses.dataclass(frozen=True)
class Joined:
    """Parts one after another."""

    parts: Sequence[Node]


@dataclasses.dataclass(frozen=True)
class Either:
    """The first of some parts that matches."""

    parts: Sequence[Node]


@dataclasses.dataclass(frozen=True)
class Repeat:
    """A part `least` to `most` times (None: any number), as often as can be; `possessive`: and never less often."""

    part: Node
    least: int
    most: int | None
    possessive: bool = False


@dataclasses.dataclass(frozen=True)
class Ahead:
    """What follows is a character of a set, or the end of the text where `end` is set; matches nothing itself."""

    points: Bounds
    end: bool


Node = Chars | Joined | Either | Repeat | Ahead


def parse(pattern: str, dialect: str = LIBRARY) -> Node:
    r"""Reads a pattern.

    Raises:
      PatternError: see the module.

    >>> parse(r"\s+(?!\S)").parts[1].end
    True
    """
    reader = _Reader(pattern, dialect)
    node = reader.alternatives()
    if reader.rest:
        raise PatternError(f"{reader.rest[0]!r} at {reader.at}")
    for alternative in node.parts if isinstance(node, Either) else [node]:
        _check_possessive(alternative.parts if isinstance(alternative, Joined) else [alternative])
    return node


class _Reader:
    """Reads a pattern from left to right."""

    def __init__(self, pattern: str, dialect: str) -> None:
        self.pattern, self.dialect, self.at, self._folds = pattern, dialect, 0, False

    @property
    def rest(self) -> str:
        return self.pattern[self.at :]

    def _take(self, *expected: str) -> str | None:
        """Steps over the first of some strings that stands here."""
        for each in expected:
            if self.rest.startswith(each):
                self.at += len(each)
                return each
        return None

    def _next(self) -> str:
        if not self.rest:
            raise PatternError("it ends too early")
        self.at += 1
        return self.pattern[self.at - 1]

    def alternatives(self) -> Node:
        parts = [self._sequence()]
        while self._take("|"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else Either(parts)

    def _sequence(self) -> Node:
        parts: list[Node] = []
        begin = self.at
        while self.rest and self.rest[0] not in "|)":
            parts.append(self._repeated(self._atom()))
        if self._folds and any(pair in self.pattern[begin : self.at].lower() for pair in _FOLDED_PAIRS):
            raise PatternError(f"{self.pattern[begin : self.at]!r} in any case")
        return parts[0] if len(parts) == 1 else Joined(parts)

    def _atom(self) -> Node:
        if self._take("(?!", "(?="):
            return self._ahead(negative=self.pattern[self.at - 1] == "!")
        opened = self._take("(?:", "(?i:") or (self._take("(") if self.rest[0] == "(" and self.rest[1:2] != "?" else None)
        if opened:
            before, self._folds = self._folds, self._folds or opened == "(?i:"
            node = self.alternatives()
            self._folds = before
            self._close()
            return node
        if self._take("["):
            return Chars(self._set())
        if self.rest[0] == "$" and self.dialect == RANKS:
            self._next()
            return Ahead(code_points.ranges([]), end=True)
        if self.rest[0] in "()*+?^$.":
            raise PatternError(f"{self.rest[:3]!r} at {self.at}")
        return Chars(self._one())

    def _ahead(self, *, negative: bool) -> Node:
        node = self.alternatives()
        self._close()
        if not isinstance(node, Chars):
            raise PatternError("it looks ahead farther than to one character")
        return Ahead(code_points.complement(node.points), end=True) if negative else Ahead(node.points, end=False)

    def _close(self) -> None:
        if not self._take(")"):
            raise PatternError("a group has no end")

    def _repeated(self, node: Node) -> Node:
        while True:
            sign = self._take("?", "*", "+", "{")
            if sign is None:
                return node
            least, most = {"?": (0, 1), "*": (0, None), "+": (1, None)}.get(sign) or self._counts()
            if isinstance(node, Repeat | Ahead):
                raise PatternError(f"a repeat of a repeat at {self.at}")
            if self._take("?"):
                raise PatternError(f"a lazy repeat at {self.at}")
            possessive = (sign != "{" or self.dialect == RANKS) and self._take("+") is not None
            node = Repeat(node, least, most, possessive)

    def _counts(self) -> tuple[int, int | None]:
        inside, closed, _ = self.rest.partition("}")
        first, comma, last = inside.partition(",")
        if not closed or not first.isdecimal() or (last and not last.isdecimal()) or int(last or first) > 64:
            raise PatternError(f"'{{{inside}' at {self.at}")
        self.at += len(inside) + 1
        return int(first), (int(last) if last else None) if comma else int(first)

    def _set(self) -> Bounds:
        """Reads a set from behind its bracket to behind the one that closes it."""
        negative = self._take("^") is not None
        sets: list[Bounds] = []
        while not self._take("]"):
            if self.rest.startswith(("[:", "&&")):
                raise PatternError(f"{self.rest[:4]!r} at {self.at}")
            if self._take("["):
                sets.append(self._set())
                continue
            first = self._one()
            if self.rest[:1] == "-" and self.rest[1:2] not in ("]", ""):
                self._next()
                last = self._one()
                if self._folds or len(first) != 2 or len(last) != 2 or first[1] - first[0] != 1 or last[1] - last[0] != 1:
                    raise PatternError(f"a range at {self.at}")
                first = code_points.ranges([(int(first[0]), int(last[0]))])
            sets.append(first)
        joined = code_points.union(sets)
        return code_points.complement(joined) if negative else joined

    def _one(self) -> Bounds:
        """Reads one character, or one escape that stands for a set."""
        character = self._next()
        if character == "\\":
            character = self._next()
            if character in "pP":
                return self._category(negative=character == "P")
            if character in "sS":
                return code_points.spaces() if character == "s" else code_points.complement(code_points.spaces())
            if character.isalnum() and character not in _ESCAPES:
                raise PatternError(f"'\\{character}' at {self.at}")
            character = _ESCAPES.get(character, character)
        characters = character
        if self._folds and character.isalpha():
            if not character.isascii():
                raise PatternError(f"{character!r} in any case")
            characters = _CASE.get(character.lower(), character.lower() + character.upper())
        return code_points.ranges((ord(each), ord(each)) for each in characters)

    def _category(self, *, negative: bool) -> Bounds:
        name = self._next()
        if name == "{":
            name, closed, _ = self.rest.partition("}")
            if not closed:
                raise PatternError("a category has no end")
            self.at += len(name) + 1
        if name.startswith("^"):
            name, negative = name[1:], not negative
        try:
            found = code_points.category(name)
        except KeyError:
            raise PatternError(f"'\\p{{{name}}}'") from None
        return code_points.complement(found) if negative else found


def _check_possessive(parts: Sequence[Node]) -> None:
    r"""Checks that a possessive repeat matches what the plain one does: whatever follows it, giving back characters would not help.

    That holds where all that follows may be empty, as in `x++[\r\n]*+`; where it begins with other characters, as in `[^\p{L}]?+\p{L}+`;
    and before the end of the text.

    Raises:
      PatternError: it may not.
    """
    for i, part in enumerate(parts):
        if not isinstance(part, Repeat) or not part.possessive:
            if not isinstance(part, Chars) and _has_possessive(part):
                raise PatternError("a possessive repeat within a group")
            continue
        if not isinstance(part.part, Chars):
            raise PatternError("a possessive repeat of a group")
        rest = list(parts[i + 1 :])
        if rest and isinstance(rest[0], Ahead) and rest[0].end and not len(rest[0].points) and len(rest) == 1:
            continue
        for each in rest:
            if isinstance(each, Repeat) and each.least == 0:
                continue
            first = each.part if isinstance(each, Repeat) else each
            mandatory = isinstance(first, Chars) and not code_points.overlap(part.part.points, first.points)
            if not mandatory or each is not rest[0]:
                raise PatternError("a possessive repeat before what it may take")
            break


def _has_possessive(node: Node) -> bool:
    if isinstance(node, Repeat):
        return node.possessive or _has_possessive(node.part)
    return isinstance(node, Joined | Either) and any(map(_has_possessive, node.parts))

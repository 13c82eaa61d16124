"""From the steps of a `tokenizer.json` to the automaton that cuts as they do."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.vocabularies.pre_tokenizers import code_points
from tokenreel.vocabularies.pre_tokenizers.automata import Automaton, compile_pattern, sets_of, within_runs
from tokenreel.vocabularies.pre_tokenizers.code_points import Bounds
from tokenreel.vocabularies.pre_tokenizers.patterns import LIBRARY, Chars, Node, PatternError, Repeat, parse

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""What `ByteLevel` cuts at by itself, where its `use_regex` is set."""


class NotRecognised(ValueError):
    """Something that only the library does; says what."""


class OtherKind(NotRecognised):
    """A tokenizer of another kind, which another path may know."""


@dataclasses.dataclass(frozen=True)
class Cutter:
    """How texts are cut into units.

    Attributes:
      classes: [END] uint8 the class of each code point.
      automaton: what reads the classes.
      prefix_space: texts that do not begin with a space get one.
      names: what was recognised, for people.
    """

    classes: npt.NDArray[np.uint8]
    automaton: Automaton
    prefix_space: bool = False
    names: str = ""


@dataclasses.dataclass(frozen=True)
class _Step:
    """A pattern that cuts each part that the steps before it leave."""

    node: Node
    keeps_rest: bool
    name: str


def for_pattern(pattern: str, dialect: str) -> Cutter:
    """Makes the cutter of one pattern, whose matches are the units; what lies between them is left out.

    Raises:
      NotRecognised: the pattern is not understood.
    """
    return _combine([_Step(_parse(pattern, dialect), False, "a pattern")], prefix_space=False)


def recognise(pre_tokenizer: Mapping[str, Any] | None) -> Cutter:
    """Makes the cutter of a `pre_tokenizer` that ends in `ByteLevel`.

    Raises:
      NotRecognised: it does something that is not known here.
    """
    if pre_tokenizer is None:
        raise NotRecognised("there is no pre-tokenizer")
    steps: list[_Step] = []
    byte_level = prefix_space = False
    for step in _flat(pre_tokenizer):
        kind = step.get("type")
        if byte_level:
            raise NotRecognised(f"the pre-tokenizer {kind} stands behind ByteLevel")
        if kind == "Split":
            steps.append(_split(step))
        elif kind == "Digits":
            numeric = Repeat(Chars(code_points.numeric()), 1, 1 if step.get("individual_digits") else None)
            steps.append(_Step(numeric, True, "digits"))
        elif kind == "ByteLevel":
            byte_level, prefix_space = True, bool(step.get("add_prefix_space", True))
            if prefix_space and steps:
                raise NotRecognised("ByteLevel with add_prefix_space stands behind other pre-tokenizers")
            if step.get("use_regex", True):
                steps.append(_Step(parse(GPT2), True, "the pattern of GPT-2"))
        else:
            raise NotRecognised(f"the pre-tokenizer {kind}")
    if not byte_level:
        raise NotRecognised("the pre-tokenizer is not byte-level")
    return _combine(steps, prefix_space=prefix_space)


def _flat(step: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if step.get("type") != "Sequence":
        return [step]
    return [each for part in step.get("pretokenizers", []) for each in _flat(part)]


def _split(step: Mapping[str, Any]) -> _Step:
    """Reads a `Split`: matches are units, and so is what lies between them, unless that is removed."""
    pattern = step.get("pattern") or {}
    text = pattern.get("Regex")
    if text is None:
        text = re.escape(pattern.get("String") or "")
    behavior, invert = step.get("behavior"), bool(step.get("invert"))
    if behavior != "Isolated" and not (behavior == "Removed" and invert):
        raise NotRecognised(f"Split with the behavior {behavior}{' and invert' if invert else ''}")
    return _Step(_parse(text, LIBRARY), behavior == "Isolated", "a pattern")


def _parse(pattern: str, dialect: str) -> Node:
    try:
        return parse(pattern, dialect)
    except PatternError as error:
        raise NotRecognised(f"the pattern {pattern[:200]!r}: {error}") from None


def _combine(steps: Sequence[_Step], *, prefix_space: bool) -> Cutter:
    """Puts steps into one automaton: the last as it is, and around it those before, which must be runs of characters of one set.

    Raises:
      NotRecognised: they are not, or an automaton would be too large.
    """
    if not steps:
        raise NotRecognised("whole texts are units")
    sets = {points.tobytes(): points for step in steps for points in sets_of(step.node)}
    try:
        starts, numbers, inside = code_points.classes(list(sets.values()))
        members = dict(zip(sets, inside, strict=True))
        automaton = compile_pattern(steps[-1].node, members, inside.shape[1])
        automaton = dataclasses.replace(automaton, keeps_rest=steps[-1].keeps_rest)
        for step in reversed(steps[:-1]):
            points, most = _run(step)
            automaton = within_runs(automaton, members[points.tobytes()], most)
    except PatternError as error:
        raise NotRecognised(f"the pre-tokenizer's steps: {error}") from None
    except ValueError as error:
        raise NotRecognised(f"the pre-tokenizer has {error}") from None
    names = ", then ".join(step.name for step in steps)
    return Cutter(code_points.spread(starts, numbers), automaton, prefix_space, names)


def _run(step: _Step) -> tuple[Bounds, int | None]:
    """Reads a step before the last one: the set that its runs are of, and how long they may be.

    Raises:
      PatternError: it is no run of one set.
    """
    node, most = step.node, 1
    if isinstance(node, Repeat):
        if node.least != 1:
            raise PatternError("a pattern before the last one is no run of characters")
        return _run(dataclasses.replace(step, node=node.part))[0], node.most
    if not isinstance(node, Chars) or not step.keeps_rest:
        raise PatternError("a pattern before the last one is no run of characters")
    return node.points, most

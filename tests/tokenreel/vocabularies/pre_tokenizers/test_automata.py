from __future__ import annotations

import itertools
import random
import re

import numpy as np
import pytest

from tokenreel.vocabularies.pre_tokenizers import code_points
from tokenreel.vocabularies.pre_tokenizers.automata import AGAIN, ENDS, ONE_BACK, compile_pattern, cut, sets_of, to_pairs, to_stream
from tokenreel.vocabularies.pre_tokenizers.patterns import PatternError, parse


def compiled(pattern):
    node = parse(pattern)
    sets = {points.tobytes(): points for points in sets_of(node)}
    starts, numbers, inside = code_points.classes(list(sets.values()))
    return compile_pattern(node, dict(zip(sets, inside, strict=True)), inside.shape[1]), code_points.spread(starts, numbers)


def pieces(pattern, text):
    automaton, classes = compiled(pattern)
    ends = [0, *cut(automaton, classes[[ord(c) for c in text]].tolist())]
    return [text[a:b] for a, b in itertools.pairwise(ends)]


def expected(pattern, text):
    """The matches of Python's own regular expressions, which backtrack, and what lies between them."""
    parts, at = [], 0
    for match in re.finditer(pattern, text):
        parts += [text[at : match.start()], match[0]]
        at = match.end()
    return [part for part in [*parts, text[at:]] if part]


PATTERNS = [
    "ab|a|b+c", "a|ab", "(?:a|ab)(?:c|bcd)", "a*b|a", "[ab]{1,3}", "a+(?!b)", "a?b?c", " ?[ab]+| +(?! )| +", "(?:ab)+|a", "a{2}b{0,2}c+",
    "c(?=a)|[ab]+", "a[^a]*a|b", "(?:aa|aaa)(?!a)",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_matches_are_those_of_backtracking(pattern):
    chooser = random.Random(1)
    for _ in range(300):
        text = "".join(chooser.choices("aabbc d", k=chooser.randrange(12)))
        assert pieces(pattern, text) == expected(pattern, text), text


def stream_pieces(automaton, stream, text):
    """The units that a stream gives of classes; asks the automaton where it says so."""
    ends, begin, i, state = [], 0, 0, 0
    while True:
        entry = stream[state, text[i] if i < len(text) else -1]
        if entry & AGAIN:
            i = begin + cut(automaton, text[begin:])[0]
            state = 0
            if i == len(text):
                return [*ends, i]
            ends.append(i)
            begin = i
            continue
        if i == len(text):
            return [*ends, i]
        if entry & ENDS:
            begin = i - bool(entry & ONE_BACK)
            ends.append(begin)
        state = entry >> 3
        i += 1


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_stream_finds_the_same_units(pattern):
    automaton, classes = compiled(pattern)
    stream = to_stream(automaton)
    chooser = random.Random(2)
    for _ in range(300):
        text = classes[[ord(c) for c in chooser.choices("aabbc d", k=chooser.randrange(1, 12))]].tolist()
        assert stream_pieces(automaton, stream, text) == cut(automaton, text)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_two_steps_at_once_are_two_steps(pattern):
    automaton, classes = compiled(pattern)
    stream = to_stream(automaton)
    pairs, places = to_pairs(stream, classes[:128])
    size = pairs.shape[1]
    for state in range(len(stream)):
        for a, b in itertools.product(b"abcd \n", repeat=2):
            first = int(stream[state, classes[a]])
            second = int(stream[first >> 3, classes[b]])
            found = int(pairs[state, places[a], places[b]])
            if (first | second) & AGAIN:
                assert found & 16
            else:
                assert found == second // 8 * size * size + (first & 3) + 4 * (second & 3)


def test_there_are_no_pairs_of_a_large_automaton():
    pairs, _ = to_pairs(np.zeros((20_000, 3), dtype=np.int32), np.zeros(128, dtype=np.uint8))
    assert not len(pairs)


def test_a_pattern_that_matches_nothing_is_refused():
    for pattern in ("a*", "a?|b", r"(?!\S)"):
        with pytest.raises(PatternError, match="nothing stands"):
            compiled(pattern)


def test_an_automaton_of_too_many_states_is_refused():
    with pytest.raises(PatternError, match="too many states"):
        compiled("[ab]*a[ab]{14}c")


def test_a_state_of_the_automaton_is_a_row():
    automaton, _ = compiled("a+")
    assert automaton.table.dtype == np.int32 and not automaton.table[0].any()

"""Tells by a file's name which split of a data set it holds, as publishers name them: `train-00000-of-00004`, `a-val.01`, `test/`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tokenreel.sources.inputs import InputFile

# What the splits are called; the first name is the one that messages use.
_NAMES = (
    ("train", "training"),
    ("validation", "valid", "val", "dev"),
    ("test", "testing", "eval", "evaluation"),
)
_WORDS = {word: names[0] for names in _NAMES for word in names}
_WORD = re.compile(r"[A-Za-z]+")


def split_of(name: str) -> str | None:
    """Tells the split of a file: what its name says or, where that says nothing, the innermost folder that does.

    >>> split_of("c4-validation.00000-of-00008.json.gz"), split_of("web/Test/part-3.jsonl"), split_of("train-test.csv")
    ('validation', 'test', None)
    """
    for part in reversed(name.split("/")):
        told = {_WORDS[word.lower()] for word in _WORD.findall(part) if word.lower() in _WORDS}
        if told:
            return told.pop() if len(told) == 1 else None
    return None


def choose(found: Iterable[InputFile], split: str) -> list[InputFile]:
    """Chooses the files of a split: those whose names tell it, or hold it between other characters than letters and digits."""
    named = re.compile(rf"(?<![A-Za-z0-9]){re.escape(split)}(?![A-Za-z0-9])", re.IGNORECASE)
    canonical = _WORDS.get(split.lower())
    if canonical is not None:
        return [file for file in found if split_of(file.name) == canonical]
    return [file for file in found if named.search(file.name)]


def told(found: Iterable[InputFile]) -> dict[str, int]:
    """Counts the files of each split that names tell, `train` first."""
    counts = dict.fromkeys((names[0] for names in _NAMES), 0)
    for file in found:
        if (split := split_of(file.name)) is not None:
            counts[split] += 1
    return {split: count for split, count in counts.items() if count}

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tokenreel import keys
from tokenreel.config import parsing, splits
from tokenreel.config.build import JobConfig
from tokenreel.errors import ConfigError
from tokenreel.planning import selection

NAMES = keys.mix(np.arange(20_000))


def job(*sources: dict[str, object], **settings: object) -> JobConfig:
    named = [{"files": ["a"], "name": f"s{i}", **source} for i, source in enumerate(sources)]
    return parsing.from_dict(JobConfig, {"output": "o", "vocabulary": {"kind": "bytes"}, "sources": named, **settings})


@pytest.mark.parametrize("epochs", [0.1, 1.0, 2.5, 3.0])
def test_copies_have_the_right_mean(epochs: float) -> None:
    count = selection.copies(NAMES, epochs)
    assert set(count) == {int(epochs), -int(-epochs // 1)}
    assert abs(count.mean() - epochs) < 0.02


def test_a_smaller_share_is_part_of_a_larger_one() -> None:
    shares = [selection.copies(NAMES, epochs) for epochs in (0.01, 0.1, 0.5, 0.9, 1, 1.2, 2)]
    assert all((less <= more).all() for less, more in itertools.pairwise(shares))


def test_which_are_drawn_has_nothing_to_do_with_their_split() -> None:
    drawn = selection.copies(NAMES, 0.5)
    assert abs(drawn[NAMES < (1 << 60)].mean() - 0.5) < 0.06


def test_each_source_has_its_splits() -> None:
    settings = job(
        {}, {"splits": {"test": "100%"}}, {"splits": {}}, {"splits": {"extra": 0.25, "validation": 0.5}}, splits={"validation": 0.5}
    )
    every = 1 << 64
    assert splits.split_names(settings) == ("validation", "test", "extra", "train")
    found = [splits.split_ranges(settings, source) for source in range(4)]
    assert found[0] == {"validation": (0, every // 2), "test": (0, 0), "extra": (0, 0), "train": (every // 2, every)}
    assert found[1] == {"validation": (0, 0), "test": (0, every), "extra": (0, 0), "train": (every, every)}
    assert found[2]["train"] == (0, every)
    assert found[3] == {
        "extra": (0, every // 4),
        "validation": (every // 4, 3 * every // 4),
        "test": (0, 0),
        "train": (3 * every // 4, every),
    }


def test_only_train_repeats() -> None:
    settings = job({"epochs": 2.5}, {"epochs": "10%"}, splits={"validation": 0.1})
    assert [selection.passes(settings, "train", source) for source in (0, 1, None)] == [3, 1, 3]
    assert selection.passes(settings, "validation", 0) == 1


def test_filters_of_a_source_replace_those_of_the_same_name() -> None:
    common = {"min_words": 5, "max_characters": 100, "lines": {"min_words": 2, "end_marks": ["."]}}
    settings = job({}, {"filters": {"max_characters": None, "min_words": 7, "lines": {"min_words": 0}}}, filters=common)
    assert settings.filters_of(0) == settings.filters
    own = settings.filters_of(1)
    assert (own.min_words, own.max_characters, own.lines.min_words, own.lines.end_marks) == (7, None, 0, (".",))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"filters": {"min_wrods": 5}}, r"source s0: unknown setting 'filters.min_wrods': did you mean"),
        ({"filters": {"max_words": 3}}, r"source s0: filters.max_words \(3\) is below filters.min_words \(5\)"),
        ({"filters": {"lines": {"drop_phrases": [""]}}}, "empty phrase"),
        ({"epochs": 0}, "sources.epochs must be positive"),
        ({"epochs": 1001}, "at most 1000"),
        ({"splits": {"validation": 1.5}}, "source s0: splits.validation must lie between 0 and 1"),
        ({"splits": {"a": 0.6, "b": 0.6}}, "source s0: splits take 120.0%"),
        ({"splits": {"train": 0.6}}, "source s0: splits.train is what the other splits leave"),
        ({"splits": {"validation": 1}}, "splits take 100.0% of the documents and leave none to train on"),
    ],
)
def test_mistakes_in_a_source(source: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        job(source, filters={"min_words": 5})

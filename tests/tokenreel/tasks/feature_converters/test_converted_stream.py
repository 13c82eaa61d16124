"""Rows of a stream: the same however blocks fall, and a state restored at any row goes on with the same rows."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import numpy as np
import pytest

from tokenreel.tasks import ExampleStream
from tokenreel.tasks.feature_converters import EncDecFeatureConverter, FeatureConverter, LMFeatureConverter, converted_stream
from tokenreel.tasks.feature_converters.blocks import from_examples, part

LENGTHS = {"inputs": 12, "targets": 9}


def examples(count: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(3)
    sizes = random.integers(0, 8, (count, 2)).tolist()
    return [{name: random.integers(0, 50, size).astype(np.int32) for name, size in zip(LENGTHS, pair, strict=True)} for pair in sizes]


def as_lists(rows: Any) -> list[dict[str, Any]]:
    return [{name: array.tolist() for name, array in row.items()} for row in rows]


@pytest.mark.parametrize("compat", [None, "seqio"])
@pytest.mark.parametrize("pack", [False, True])
def test_blocks_and_states_change_no_row(monkeypatch: pytest.MonkeyPatch, pack: bool, compat: str | None) -> None:
    converter = EncDecFeatureConverter(pack=pack, compat=compat)
    made = examples(60)
    whole = converter.convert_rows(from_examples(made, converter.task_specs()), LENGTHS)
    expected = as_lists(
        {name: array[row] for name, array in whole.items()}
        for row in range(len(whole["decoder_positions" if pack else "decoder_input_tokens"]))
    )
    for size in (1, 7, 60, 512):
        monkeypatch.setattr(converted_stream, "_BLOCK_EXAMPLES", size)
        stream = converter(ExampleStream.from_examples(made), LENGTHS)
        assert as_lists(stream) == expected
        rows, states = iter(stream), []
        for _ in expected:
            states.append(json.loads(json.dumps(rows.get_state())))
            next(rows)
        for at in range(0, len(states), 3):
            rows.set_state(states[at])
            assert as_lists(rows) == expected[at:], (size, at)


def test_an_endless_stream_is_read_block_by_block() -> None:
    stream = LMFeatureConverter()(ExampleStream.from_examples([{"targets": [1, 2]}]).repeat(), {"targets": 4})
    assert as_lists(stream.take(2)) == as_lists(stream.take(1)) * 2


def test_no_examples_no_rows() -> None:
    assert list(EncDecFeatureConverter()(ExampleStream.from_examples([]), LENGTHS)) == []
    empty = [{"inputs": [], "targets": []}] * 3
    assert list(EncDecFeatureConverter()(ExampleStream.from_examples(empty), LENGTHS)) == []
    assert len(list(EncDecFeatureConverter(pack=False)(ExampleStream.from_examples(empty), LENGTHS))) == 3


class WithoutPadding(FeatureConverter):
    """A converter that makes its rows itself, in NumPy."""

    TASK_FEATURES: ClassVar[Any] = {"targets": FeatureConverter.FeatureSpec(np.int32)}
    MODEL_FEATURES: ClassVar[Any] = {"sums": FeatureConverter.FeatureSpec(np.int32, rank=0)}
    PACKING_FEATURE_DTYPES: ClassVar[Any] = {}

    def convert_rows(self, block: Any, task_feature_lengths: Any) -> Any:
        values, offsets = block["targets"]
        total = np.append(0, np.cumsum(values))
        return {"sums": (total[offsets[1:]] - total[offsets[:-1]]).astype(np.int32)}

    def get_model_feature_lengths(self, task_feature_lengths: Any) -> Any:
        return {"sums": 0}


def test_a_class_of_ones_own_makes_whole_blocks_into_rows() -> None:
    stream = WithoutPadding(pack=False)(ExampleStream.from_examples([{"targets": [1, 2]}, {"targets": [5]}]), {"targets": 4})
    assert [int(row["sums"]) for row in stream] == [3, 5]
    rows = iter(stream)
    next(rows)
    again = iter(stream)
    again.set_state(rows.get_state())
    assert [int(row["sums"]) for row in again] == [5]


@pytest.mark.parametrize("compat", [None, "seqio"])
@pytest.mark.parametrize("size", [1, 3, 512])
def test_rows_that_are_planned_by_costs_are_those_of_the_stream(monkeypatch: pytest.MonkeyPatch, size: int, compat: str | None) -> None:
    monkeypatch.setattr(converted_stream, "_BLOCK_EXAMPLES", size)
    converter = EncDecFeatureConverter(compat=compat)
    made = examples(40)
    for few in (3, 4, 5, 20):  # empty examples may make no row, which depends on the blocks
        made[few] = {name: values[:0] for name, values in made[few].items()}
    block = from_examples(made, converter.task_specs())
    begins, ends = converted_stream.plan_stream(converter, *converter.costs(block, LENGTHS))
    rows = [
        converter.fill_planned(part(block, begin, end), LENGTHS, np.zeros(1, np.int64)) for begin, end in zip(begins, ends, strict=True)
    ]
    expected = as_lists(converter(ExampleStream.from_examples(made), LENGTHS))
    assert as_lists({name: array[0] for name, array in row.items()} for row in rows) == expected

"""Padding, packing and shifting of blocks: nothing lost, nothing twice, and SeqIO's answers where they are asked for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenreel.ragged import offsets_of
from tokenreel.tasks.feature_converters import rows
from tokenreel.tasks.feature_converters.blocks import Block

sequences = st.lists(st.integers(0, 9), max_size=6)


def block_of(**features: list[list[int]]) -> Block:
    return {
        name: (np.array(list(itertools.chain(*lists)), np.int32), offsets_of(np.array([len(part) for part in lists], np.int64)))
        for name, lists in features.items()
    }


def unpack(packed: rows.Rows, name: str) -> list[list[int]]:
    """What each segment of each row holds, in order."""
    found = []
    for tokens, segments in zip(packed[name], packed[name + "_segment_ids"], strict=True):
        found += [tokens[segments == number].tolist() for number in range(1, segments.max(initial=0) + 1)]
    return found


@given(st.lists(st.tuples(sequences, sequences), max_size=12))
def test_packing_keeps_every_example_and_numbers_it_alike_in_both_features(examples: list[tuple[list[int], list[int]]]) -> None:
    block = block_of(inputs=[inputs for inputs, _ in examples], targets=[targets for _, targets in examples])
    packed, heads, _ = rows.pack_rows(block, {"inputs": 7, "targets": 6})
    kept = [(inputs, targets) for inputs, targets in examples if inputs or targets]
    per_row = np.maximum(packed["inputs_segment_ids"].max(1, initial=0), packed["targets_segment_ids"].max(1, initial=0))
    assert per_row.sum() == len(kept) and len(heads) == len(per_row)
    at = iter(kept)
    for row, count in enumerate(per_row.tolist()):
        for number in range(1, count + 1):
            inputs, targets = next(at)
            for name, values in (("inputs", inputs), ("targets", targets)):
                there = packed[name + "_segment_ids"][row] == number
                assert packed[name][row][there].tolist() == values
                assert packed[name + "_positions"][row][there].tolist() == list(range(len(values)))
    for name in ("inputs", "targets"):
        assert np.array_equal(packed[name + "_real"], packed[name + "_segment_ids"] > 0)


def test_a_row_is_closed_by_the_first_example_without_room() -> None:
    packed, heads, _ = rows.pack_rows(block_of(a=[[1, 1], [2, 2], [3]], b=[[7], [8], [9, 9, 9]]), {"a": 5, "b": 4})
    assert packed["a"].tolist() == [[1, 1, 2, 2, 0], [3, 0, 0, 0, 0]] and packed["b"].tolist() == [[7, 8, 0, 0], [9, 9, 9, 0]]
    assert heads.tolist() == [0, 2]


@pytest.mark.parametrize("seqio", [False, True])
def test_a_stream_packed_in_two_blocks_is_packed_as_one(seqio: bool) -> None:
    """The open row goes on in the next block, with the examples that are left."""
    examples = [[1, 1], [2, 2], [3], [], [4, 4, 4], [5]]
    options = {"flush_every": 4 if seqio else None, "zero_is_padding": seqio}
    whole, heads, done = rows.pack_rows(block_of(a=examples), {"a": 4}, **options)
    assert done == len(examples)
    for cut in range(1, len(examples)):
        before, first, taken = rows.pack_rows(block_of(a=examples[:cut]), {"a": 4}, ended=False, **options)
        after, second, _ = rows.pack_rows(block_of(a=examples[taken:]), {"a": 4}, first=taken, **options)
        assert [*first, *(second + taken)] == heads.tolist()
        assert np.array_equal(np.concatenate([before["a"], after["a"]]), whole["a"])


def test_empty_examples_make_no_row_and_no_number() -> None:
    packed, *_ = rows.pack_rows(block_of(a=[[], [1], [], [2]], b=[[], [], [], [3]]), {"a": 4, "b": 4})
    assert packed["a_segment_ids"].tolist() == [[1, 2, 0, 0]] and packed["b_segment_ids"].tolist() == [[2, 0, 0, 0]]
    assert len(rows.pack_rows(block_of(a=[[], []]), {"a": 4})[1]) == 0
    assert rows.pack_rows(block_of(a=[[], []]), {"a": 4}, zero_is_padding=True)[0]["a"].tolist() == [[0, 0, 0, 0]], "SeqIO's row of padding"


def test_zero_is_a_token_unless_seqio_is_asked_for() -> None:
    block = block_of(a=[[3, 0, 5, 6]])
    packed, *_ = rows.pack_rows(block, {"a": 6})
    assert packed["a"].tolist() == [[3, 0, 5, 6, 0, 0]] and packed["a_segment_ids"].tolist() == [[1, 1, 1, 1, 0, 0]]
    as_seqio, *_ = rows.pack_rows(block, {"a": 6}, zero_is_padding=True)
    assert as_seqio["a"].tolist() == [[3, 0, 5, 0, 0, 0]] and as_seqio["a_segment_ids"].tolist() == [[1, 0, 1, 0, 0, 0]]


def test_seqio_closes_the_row_after_as_many_examples_as_the_row_is_long() -> None:
    block = block_of(a=[[1], [], [2], [3]])
    assert rows.pack_rows(block, {"a": 3})[0]["a"].tolist() == [[1, 2, 3]]
    assert rows.pack_rows(block, {"a": 3}, flush_every=3)[0]["a"].tolist() == [[1, 2, 0], [3, 0, 0]]


def test_frames_are_padded_and_packed_along_their_first_axis() -> None:
    frames = np.arange(10, dtype=np.float32).reshape(5, 2)
    block = {"frames": (frames, np.array([0, 2, 5]))}
    padded = rows.pad_rows(block, {"frames": 4})
    assert padded["frames"].shape == (2, 4, 2) and padded["frames"][0, :2].tolist() == frames[:2].tolist()
    assert padded["frames_real"].tolist() == [[True, True, False, False], [True, True, True, False]]
    packed, *_ = rows.pack_rows(block, {"frames": 6})
    assert packed["frames"][0, :5].tolist() == frames.tolist() and packed["frames_segment_ids"].tolist() == [[1, 1, 2, 2, 2, 0]]


def test_images_of_different_sizes_are_padded_along_each_axis() -> None:
    padded = rows.pad_rows({"image": ([np.ones((2, 3)), np.ones((4, 1))], None)}, {"image": (3, 2)})
    assert padded["image"].tolist() == [[[1, 1], [1, 1], [0, 0]], [[1, 0], [1, 0], [1, 0]]]


def test_shifting() -> None:
    targets, segments = np.array([[3, 8, 1, 9, 1, 0, 0]]), np.array([[1, 1, 1, 2, 2, 0, 0]])
    assert rows.shift_right(targets).tolist() == [[0, 3, 8, 1, 9, 1, 0]]
    assert rows.shift_right(targets, 5, segments).tolist() == [[5, 3, 8, 5, 9, 0, 0]]
    assert rows.shift_right(targets, 5, segments, bos_in_padding=True).tolist() == [[5, 3, 8, 5, 9, 5, 0]]
    frames = np.arange(6.0).reshape(1, 3, 2)
    assert rows.shift_right(frames, axis=1).tolist() == [[[0, 0], [0, 1], [2, 3]]]

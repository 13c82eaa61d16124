"""Records of any length: what is written comes back, in any order, from the index alone."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenreel.errors import BuildError
from tokenreel.format import example_codec, ragged_records, tfrecord
from tokenreel.format.ragged_records import ARRAY, SEQIO, RaggedFeature, RaggedWriter
from tokenreel.format.ragged_shards import RaggedRecords, to_examples
from tokenreel.storage.column_file import Columns, of_bytes, to_parts


def write(examples, wire=ARRAY):
    """Writes a shard in memory: its bytes, its index as it is read back, its features."""
    file = io.BytesIO()
    writer = RaggedWriter(file, wire)
    writer.write(examples[:1])
    writer.write(examples[1:])
    data = file.getvalue()
    assert (writer.bytes, writer.crc32c) == (len(data), tfrecord.crc32c(data))
    index = of_bytes(np.frombuffer(b"".join(to_parts(writer.index())), np.uint8))
    return np.frombuffer(data, np.uint8), index, writer.features


def reopened(*shards):
    features = ragged_records.merge_features(found for _, _, found in shards)
    return RaggedRecords(features, [(index.rows, lambda data=data, index=index: (data, index)) for data, index, _ in shards])


def same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name])
        assert type(left[name]) is type(right[name])
        assert getattr(left[name], "dtype", None) == getattr(right[name], "dtype", None)


texts = st.binary(max_size=5)
examples = st.fixed_dictionaries(
    {
        "ids": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5).map(lambda ids: np.array(ids, np.int32)),
        "wide": st.integers(-(2**63), 2**63 - 1).map(np.int64),
        "flag": st.booleans().map(np.bool_),
        "frames": st.integers(0, 3).map(lambda rows: np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)),
        "text": texts,
        "answers": st.lists(texts, max_size=3).map(lambda found: np.array([*found, None], object)[:-1]),
    },
    optional={"score": st.integers(0, 9).map(np.float32)},
)


@pytest.mark.parametrize("wire", [ARRAY, SEQIO])
@settings(deadline=None, max_examples=60)
@given(rows=st.lists(examples, min_size=1, max_size=6), data=st.data())
def test_what_is_written_comes_back_in_any_order(wire, rows, data):
    if wire == SEQIO:  # whose records cannot lack a number
        rows = [{"score": np.float32(1), **row} for row in rows]
    cut = data.draw(st.integers(0, len(rows)))
    found = reopened(*(write(part, wire) for part in (rows[:cut], rows[cut:]) if part))
    assert len(found) == len(rows)
    for index, row in enumerate(rows):
        same(found[index], row)
    order = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8))
    block = found.take(np.array(order, np.int64), only=[name for name in found.features if name != "score"])
    for number, example in zip(order, to_examples(block), strict=True):
        same(example, {name: value for name, value in rows[number].items() if name != "score"})
    assert found.lengths("ids").tolist() == [len(row["ids"]) for row in rows]


def test_records_are_examples_that_anybody_reads():
    row = {"b": np.int32([7, -1]), "a": b"text", "many": np.array([b"x", b""], object), "square": np.float32([[1, 2], [3, 4]])}
    data, _, _ = write([row, row])
    (_, payload, fault), *_ = tfrecord.read_frames(io.BytesIO(data.tobytes()).read, 1 << 20)
    decoded = example_codec.decode_example(payload)
    assert fault == "" and sorted(decoded) == ["a", "b", "many", "square", "square.shape"]
    assert np.frombuffer(decoded["b"][0], "<i4").tolist() == [7, -1]
    assert decoded["a"].tolist() == [b"text"] and decoded["many"].tolist() == [b"x", b""]
    assert np.frombuffer(decoded["square.shape"][0], "<i8").tolist() == [2, 2]
    seqio = write([{"b": np.int32([7, -1]), "c": np.float32(0.5)}], SEQIO)[0].tobytes()
    expected = example_codec.encode_lists({"b": [np.int64([7, -1])], "c": [np.float32([0.5])]})
    assert seqio == b"".join(expected)


def test_arrays_of_differing_inner_shapes_are_kept_whole():
    rows = [{"image": np.ones((2, 3, 1), np.uint8)}, {"image": np.zeros((0, 4, 1), np.uint8)}, {"image": np.full((1, 2, 1), 7, np.uint8)}]
    found = reopened(write(rows))
    assert found.features["image"].inner is None
    values, bounds = found.take([2, 1, 0])["image"]
    assert bounds is None and [value.shape for value in values] == [(1, 2, 1), (0, 4, 1), (2, 3, 1)]
    same(found[2], rows[2])


def test_index_of_records_in_another_order():
    rows = [{"ids": np.arange(n, dtype=np.int32), "names": np.array([b"n"] * n, object)} for n in range(4)]
    data, index, features = write(rows)
    frames = [data[a:b] for a, b in zip(index.arrays["offset"], index.arrays["offset"][1:], strict=False)]
    order = np.array([3, 0, 2])
    moved = ragged_records.concatenate([ragged_records.take(index, order), ragged_records.take(index, order[:1])], features)
    shard = np.concatenate([frames[i] for i in (3, 0, 2, 3)])
    found = RaggedRecords(features, [(4, lambda: (shard, moved))])
    for place, number in enumerate((3, 0, 2, 3)):
        same(found[place], rows[number])


@pytest.mark.parametrize(
    ("rows", "wire", "message"),
    [
        ([{"a": np.int32([1])}, {"a": np.int64([1])}], ARRAY, "feature 'a' is int32 of rank 1 in one example and int64 of rank 1"),
        ([{"a": np.int32([1])}, {"a": np.int32(1)}], ARRAY, "rank 1 in one example and int32 of rank 0"),
        ([{"a": {"b": 1}}], ARRAY, "feature 'a' of an example"),
        ([{"a": np.array([b"x", None], object)}], ARRAY, "a list of texts holds None, a NoneType"),
        ([{"a": np.array([np.int32([1, 2]), np.int32([3])], object)}], ARRAY, "rows of numbers, each of its own length, which a cache"),
        ([{"a": np.float64([1])}], SEQIO, "SeqIO's records hold bool, int32, int64, float32, string, got float64"),
        (
            [{"a": np.zeros((1, 2), np.float32)}, {"a": np.zeros((1, 3), np.float32)}],
            SEQIO,
            r"shape \(2,\) in one example and \(3,\)",
        ),
    ],
)
def test_what_records_cannot_hold_is_refused_by_name(rows, wire, message):
    with pytest.raises(BuildError, match=message):
        RaggedWriter(io.BytesIO(), wire).write(rows)


@pytest.mark.parametrize("wire", [ARRAY, SEQIO])
def test_lists_of_nothing_take_the_type_of_the_others(wire):
    empty, filled = {"a": np.int64([])}, {"a": np.array([b"x"], object)}
    for shards in ([[empty, filled]], [[filled, empty]], [[empty], [filled]], [[filled], [empty]]):
        found = reopened(*(write(rows, wire) for rows in shards))
        assert not found.features["a"].empty and sorted(each["a"].tolist() for each in found) == [[], [b"x"]]
    assert reopened(write([empty], wire)).features["a"].empty


def test_a_name_that_a_shape_needs_is_refused():
    features = {"a": RaggedFeature(dtype="int32", rank=2), "a.shape": RaggedFeature(dtype="int32", rank=1)}
    with pytest.raises(BuildError, match=r"'a\.shape': the shape of 'a' may need that name"):
        ragged_records.merge_features([features])


def test_an_empty_table_of_columns():
    assert of_bytes(np.frombuffer(b"".join(to_parts(Columns(0, {}))), np.uint8)).rows == 0

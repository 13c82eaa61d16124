import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenreel.format import tfrecord
from tokenreel.format.example_codec import decode_example, encode_fixed, encode_lists, make_fixed_format
from tokenreel.format.schema import Feature

FEATURES = [
    Feature(name="tokens", dtype="uint16", shape=(5,)),
    Feature(name="document_starts", dtype="bit", shape=(5,)),
    Feature(name="example_id", dtype="int64"),
    Feature(name="weights", dtype="float32", shape=(2, 2)),
]
ARRAYS = {
    "tokens": np.arange(15).reshape(3, 5) * 4000,
    "document_starts": np.array([[1, 0, 0, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], dtype=bool),
    "example_id": np.array([0, 1, -1]),
    "weights": np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 2, 2),
}


def payloads(records):
    return [row[tfrecord.HEADER_BYTES : -tfrecord.FOOTER_BYTES].tobytes() for row in records]


def test_every_record_has_one_length_and_its_values_at_the_offsets():
    fixed_format = make_fixed_format(FEATURES)
    records = encode_fixed(fixed_format, ARRAYS)
    assert records.shape == (3, fixed_format.record_bytes)
    assert fixed_format.payload_bytes == fixed_format.record_bytes - 16
    for feature, offset in zip(fixed_format.features, fixed_format.offsets, strict=True):
        np.testing.assert_array_equal(records[:, offset : offset + feature.nbytes], feature.to_bytes(ARRAYS[feature.name]))
    for name, values in fixed_format.decode(records).items():
        np.testing.assert_array_equal(values, ARRAYS[name])
    assert set(fixed_format.decode(records, ["tokens"])) == {"tokens"}


def test_the_order_of_features_given_does_not_matter():
    records = encode_fixed(make_fixed_format(FEATURES), ARRAYS)
    reversed_ = encode_fixed(make_fixed_format(FEATURES[::-1]), dict(reversed(ARRAYS.items())))
    assert records.tobytes() == reversed_.tobytes()


def example_message(features):
    """What protobuf itself makes of a `tf.train.Example`."""
    import tensorflow as tf

    message = tf.train.Example()
    for name, values in features.items():
        if isinstance(values, bytes):
            message.features.feature[name].bytes_list.value.append(values)
        elif values.dtype.kind == "f":
            message.features.feature[name].float_list.value.extend(values.ravel().tolist())
        else:
            message.features.feature[name].int64_list.value.extend(values.ravel().astype(np.int64).tolist())
    return message.SerializeToString(deterministic=True)


@pytest.mark.tensorflow
@pytest.mark.parametrize("length", [1, 62, 63, 64, 127, 128, 129, 8192, 70_000])
def test_fixed_records_are_the_bytes_that_protobuf_writes(length):
    """At lengths where the varints of the enclosing messages change their size."""
    feature = Feature(name="tokens", dtype="uint8", shape=(length,))
    values = np.arange(2 * length).reshape(2, length) % 256
    records = encode_fixed(make_fixed_format([feature]), {"tokens": values})
    assert payloads(records) == [example_message({"tokens": row.astype(np.uint8).tobytes()}) for row in values]


@pytest.mark.tensorflow
def test_many_features_are_the_bytes_that_protobuf_writes():
    fixed_format = make_fixed_format(FEATURES)
    expected = [
        example_message({feature.name: feature.to_bytes(ARRAYS[feature.name])[row].tobytes() for feature in FEATURES}) for row in range(3)
    ]
    assert payloads(encode_fixed(fixed_format, ARRAYS)) == expected


@pytest.mark.tensorflow
def test_lists_are_the_bytes_that_protobuf_writes():
    limits = np.array([0, 1, 127, 128, 16_383, 16_384, 2**31, 2**63 - 1, -1, -(2**63)])
    arrays = {"tokens": [limits, limits[:0]], "scores": [np.array([0.5, -1e30]), np.array([0.0])], "id": [np.int64(7), np.int64(-7)]}
    (first, second) = encode_lists(arrays)
    for row, frame in enumerate((first, second)):
        message = example_message({name: np.atleast_1d(values[row]) for name, values in arrays.items()})
        assert frame == tfrecord.frame(message)


@pytest.mark.tensorflow
def test_tensorflow_parses_both_formats(tmp_path):
    import tensorflow as tf

    path = tmp_path / "fixed"
    path.write_bytes(encode_fixed(make_fixed_format(FEATURES), ARRAYS).tobytes())
    parsed = [
        tf.io.parse_single_example(record, {"tokens": tf.io.FixedLenFeature([], tf.string)})
        for record in tf.data.TFRecordDataset(str(path))
    ]
    tokens = [tf.io.decode_raw(row["tokens"], tf.uint16).numpy().tolist() for row in parsed]
    assert tokens == ARRAYS["tokens"].tolist()

    path = tmp_path / "lists"
    path.write_bytes(b"".join(encode_lists({"tokens": list(ARRAYS["tokens"])})))
    rows = [
        tf.io.parse_single_example(record, {"tokens": tf.io.FixedLenFeature([5], tf.int64)})["tokens"].numpy().tolist()
        for record in tf.data.TFRecordDataset(str(path))
    ]
    assert rows == ARRAYS["tokens"].tolist()


INTEGERS = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20).map(lambda values: np.array(values, dtype=np.int64))
FLOATS = st.lists(st.floats(width=32, allow_nan=False), max_size=20).map(lambda values: np.array(values, dtype=np.float32))


@given(st.dictionaries(st.text(min_size=1, max_size=5), INTEGERS | FLOATS, min_size=1, max_size=5))
def test_lists_are_decoded_again(arrays):
    (frame,) = encode_lists({name: [values] for name, values in arrays.items()})
    decoded = decode_example(frame[tfrecord.HEADER_BYTES : -tfrecord.FOOTER_BYTES])
    assert set(decoded) == set(arrays)
    for name, values in arrays.items():
        np.testing.assert_array_equal(decoded[name], values)


def test_fixed_records_decode_as_bytes():
    for row, payload in enumerate(payloads(encode_fixed(make_fixed_format(FEATURES), ARRAYS))):
        decoded = decode_example(payload)
        for feature in FEATURES:
            assert decoded[feature.name].tolist() == [feature.to_bytes(ARRAYS[feature.name])[row].tobytes()]


@pytest.mark.tensorflow
def test_what_protobuf_writes_is_decoded():
    decoded = decode_example(example_message({"a": np.array([1, -2]), "b": np.array([0.5]), "c": b"text"}))
    assert {name: values.tolist() for name, values in decoded.items()} == {"a": [1, -2], "b": [0.5], "c": [b"text"]}


def test_unpacked_numbers_are_decoded():
    """Older writers of protobuf gave each number a tag of its own."""
    unpacked_ints = b"\x0a\x0d\x0a\x0b\x0a\x01a\x12\x06\x1a\x04\x08\x01\x08\x02"
    assert decode_example(unpacked_ints)["a"].tolist() == [1, 2]
    unpacked_floats = b"\x0a\x0e\x0a\x0c\x0a\x01a\x12\x07\x12\x05\x0d\x00\x00\x00\x3f"
    assert decode_example(unpacked_floats)["a"].tolist() == [0.5]


@given(st.binary(min_size=1, max_size=60))
def test_other_bytes_are_refused_with_a_reason(data):
    try:
        decode_example(data)
    except ValueError as error:
        assert str(error)


def test_altered_records_raise_nothing_but_value_errors():
    (frame,) = encode_lists({"tokens": [np.arange(300)], "weights": [np.array([0.5])]})
    payload = frame[tfrecord.HEADER_BYTES : -tfrecord.FOOTER_BYTES]
    for at in range(len(payload)):
        for bits in (1, 0x80, 0xFF):
            altered = bytearray(payload)
            altered[at] ^= bits
            try:
                decode_example(bytes(altered))
            except ValueError as error:
                assert str(error)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"more": np.zeros((3, 1))}, "got"),
        ({"tokens": None}, "records hold the features"),
        ({"tokens": np.zeros((3, 6))}, "shape"),
        ({"tokens": np.full((3, 5), 70_000)}, "does not fit"),
    ],
)
def test_arrays_that_do_not_fit_the_layout_are_refused(change, message):
    arrays = {name: values for name, values in (ARRAYS | change).items() if values is not None}
    with pytest.raises(ValueError, match=message):
        encode_fixed(make_fixed_format(FEATURES), arrays)

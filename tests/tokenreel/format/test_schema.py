import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenreel.errors import ManifestError
from tokenreel.format import schema
from tokenreel.format.example_codec import make_fixed_format
from tokenreel.format.schema import Feature

LIMITS = {"uint8": (0, 255), "uint16": (0, 65_535), "int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


@st.composite
def features_and_values(draw):
    dtype = draw(st.sampled_from(sorted(schema.DTYPES)))
    shape = tuple(draw(st.lists(st.integers(1, 5), max_size=3)))
    feature = Feature(name="f", dtype=dtype, shape=shape)
    rows = draw(st.integers(0, 4))
    if dtype == schema.BIT:
        element = st.booleans()
    elif dtype == "float32":
        element = st.floats(width=32, allow_nan=False)
    else:
        element = st.integers(*LIMITS[dtype])
    values = draw(st.lists(element, min_size=rows * feature.size, max_size=rows * feature.size))
    kind = {schema.BIT: bool, "float32": np.float32}.get(dtype, np.int64)
    return feature, np.array(values, dtype=kind).reshape(rows, *shape)


@given(features_and_values())
def test_values_come_back(case):
    feature, values = case
    data = feature.to_bytes(values)
    assert data.dtype == np.uint8 and data.shape == (len(values), feature.nbytes)
    back = feature.from_bytes(data)
    assert back.shape == values.shape
    np.testing.assert_array_equal(back, values)


@pytest.mark.parametrize(
    ("dtype", "shape", "nbytes"),
    [
        ("uint16", (1024,), 2048),
        ("int32", (2, 3), 24),
        ("int64", (), 8),
        ("bit", (), 1),
        ("bit", (8,), 1),
        ("bit", (9,), 2),
        ("uint8", (0,), 0),
    ],
)
def test_sizes(dtype, shape, nbytes):
    assert Feature(name="f", dtype=dtype, shape=shape).nbytes == nbytes


def test_bytes_are_little_endian_and_bits_begin_at_the_lowest():
    """What a reader in another language relies on."""
    assert Feature(name="f", dtype="uint16", shape=(2,)).to_bytes([[1, 515]]).tolist() == [[1, 0, 3, 2]]
    assert Feature(name="f", dtype="int64").to_bytes([-2]).tolist() == [[254] + [255] * 7]
    assert Feature(name="f", dtype="bit", shape=(10,)).to_bytes([[1, 0, 0, 0, 0, 0, 0, 0, 0, 1]]).tolist() == [[1, 2]]
    assert Feature(name="f", dtype="float32").to_bytes([1.0]).tolist() == [[0, 0, 0x80, 0x3F]]


def test_big_endian_and_strided_arrays_are_stored_alike():
    feature = Feature(name="f", dtype="uint16", shape=(3,))
    plain = np.array([[1, 2, 3], [4, 5, 6]])
    for same in (plain.astype(">i4"), np.asfortranarray(plain), plain.repeat(2, axis=1)[:, ::2], plain.tolist()):
        assert feature.to_bytes(same).tobytes() == feature.to_bytes(plain).tobytes()


@pytest.mark.parametrize("dtype", sorted(LIMITS))
@pytest.mark.parametrize("side", [0, 1])
def test_a_value_that_does_not_fit_is_refused(dtype, side):
    feature = Feature(name="tokens", dtype=dtype, shape=(2,))
    limit = LIMITS[dtype][side]
    feature.to_bytes(np.array([[0, limit]]))
    beyond = limit + (1 if side else -1)
    if -(2**63) <= beyond < 2**64:
        with pytest.raises(ValueError, match=f"'tokens' is stored as {dtype}"):
            feature.to_bytes(np.array([[0, beyond]], dtype=np.uint64 if beyond >= 2**63 else np.int64))


def test_a_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"'tokens' holds arrays of shape \(4,\), got \(3,\)"):
        Feature(name="tokens", dtype="uint16", shape=(4,)).to_bytes(np.zeros((2, 3)))


def test_an_unknown_dtype_is_refused():
    with pytest.raises(ManifestError, match="'float64'; known are bit, uint8"):
        Feature(name="f", dtype="float64")


@pytest.mark.parametrize("name", ["num_tokens", "example_id"])
def test_what_is_one_number_has_no_shape(name):
    with pytest.raises(ManifestError, match=rf"'{name}' is one number in each example, got the shape \[2\]"):
        Feature(name=name, dtype="int32", shape=(2,))


def test_reading_contiguous_bytes_copies_nothing():
    feature = Feature(name="f", dtype="uint16", shape=(4,))
    data = feature.to_bytes(np.arange(8).reshape(2, 4))
    assert np.shares_memory(feature.from_bytes(data), data)


def test_the_narrowest_dtype_of_tokens():
    assert [schema.token_dtype(size) for size in (1, 65_536, 65_537)] == ["uint16", "uint16", "int32"]


def test_features_are_read_back_from_json():
    fixed_format = make_fixed_format(
        [
            Feature(name="tokens", dtype="uint16", shape=(7,)),
            Feature(name="id", dtype="int64"),
            Feature(name="b", dtype="bit", shape=(2, 5)),
        ]
    )
    rows = fixed_format.to_json()
    assert schema.features_from_json(rows) == fixed_format.features
    assert [row["name"] for row in rows] == ["b", "id", "tokens"]
    assert fixed_format.feature("id").dtype == "int64"
    with pytest.raises(KeyError, match="the records hold b, id, tokens"):
        fixed_format.feature("ids")

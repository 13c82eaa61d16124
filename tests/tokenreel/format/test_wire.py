import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenreel.format import wire


def varint(value):
    """The definition: seven bits a byte, the lowest first, and a bit that says whether more follow."""
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


@given(st.integers(0, 2**64 - 1), st.binary(max_size=5), st.binary(max_size=5))
def test_a_varint_is_written_as_defined_and_read_where_it_stands(value, before, after):
    assert wire.varint(value) == varint(value)
    data = before + varint(value) + after
    assert wire.read_varint(data, len(before)) == (value, len(data) - len(after))


FIELD = st.one_of(
    st.tuples(st.integers(1, 2**29 - 1), st.just(wire.VARINT), st.integers(0, 2**64 - 1)),
    st.tuples(st.integers(1, 2**29 - 1), st.just(wire.FIXED64), st.binary(min_size=8, max_size=8)),
    st.tuples(st.integers(1, 2**29 - 1), st.just(wire.FIXED32), st.binary(min_size=4, max_size=4)),
    st.tuples(st.integers(1, 2**29 - 1), st.just(wire.LENGTH_DELIMITED), st.binary(max_size=300)),
)


def message(fields):
    out = b""
    for number, kind, value in fields:
        length = varint(len(value)) if kind == wire.LENGTH_DELIMITED else b""
        out += varint(number << 3 | kind) + (varint(value) if kind == wire.VARINT else length + value)
    return out


@given(st.lists(FIELD, max_size=8))
def test_fields_of_every_wire_type_come_back(fields):
    assert list(wire.typed_fields(message(fields))) == fields
    assert list(wire.fields(message(fields))) == [(number, value) for number, _, value in fields]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x80", "a varint is cut short or too long"),
        (b"\x08" + b"\xff" * 11, "a varint is cut short or too long"),
        (b"\x0a\x05abcd", "a field is cut short"),
        (b"\x0a\xff\x01abcd", "a field is cut short"),
        (b"\x0a", "a varint is cut short"),
        (b"\x0d\x00\x00\x00", "a field is cut short"),
        (b"\x0b", "unexpected wire type 3"),
    ],
)
def test_what_is_no_message_is_refused(data, problem):
    with pytest.raises(ValueError, match=problem):
        list(wire.typed_fields(data))

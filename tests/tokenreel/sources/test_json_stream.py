"""Records of JSON that is not one object on each line, compared with what Python's parser makes of the whole file."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reading import Read, read
from tokenreel.config.corpus import SourceConfig
from tokenreel.sources.inputs import InputFile
from tokenreel.sources.json_stream import cut_records, is_array

NASTY = ['a "quote" {', "]}", "\\", '\\\\"', "line\nend", "tab\t[", "ünï \U0001f4a5", "\u2028", '", {"text": "no"}, {"', ""]
ROWS = [{"text": text, "id": i, "more": {"deep": [1, {"x": text}]}} for i, text in enumerate(NASTY)]
INDENTS = [None, 0, 1]


def found(tmp_path: pathlib.Path, data: str | bytes, kind: str = "json", **settings: Any) -> Read:
    (tmp_path / "a").write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))
    return read(tmp_path / "a", kind, **settings)


def concatenated(rows: list[Any], indent: int | None, between: str = "\n") -> str:
    return between.join(json.dumps(row, indent=indent) for row in rows)


@pytest.mark.parametrize("indent", INDENTS)
@pytest.mark.parametrize("block_bytes", [20, 1 << 20])
def test_arrays_objects_and_nested_arrays_hold_the_same_documents(tmp_path: pathlib.Path, indent: int | None, block_bytes: int) -> None:
    """Positions are where the objects begin, whatever lies around them, and the text is that of Python's parser."""
    nested = {"info": {"data": [1, "data"], "x": "}"}, "data": ROWS, "data.rows": {}, "after": [[]]}
    shapes: dict[str, tuple[str, dict[str, Any]]] = {
        "array": (json.dumps(ROWS, indent=indent), {}),
        "array behind a mark": ("\ufeff \n" + json.dumps(ROWS, indent=indent) + "\n", {}),
        "objects": (concatenated(ROWS, indent), {}),
        "objects without anything between": (concatenated(ROWS, indent, ""), {}),
        "arrays one after another": (concatenated([ROWS[:3], [], ROWS[3:]], indent), {}),
        "in a field": (json.dumps(nested, indent=indent), {"records": "data"}),
        "in a field of a field": (json.dumps({"a": {"no": [], "b.c": ROWS}}, indent=indent), {"records": "a.b.c"}),
        "in several objects": (concatenated([{"d": ROWS[:3]}, {"d": []}, {"d": ROWS[3:]}], indent), {"records": "d"}),
        "in objects of an array": (json.dumps([{"d": ROWS[:3]}, {"d": ROWS[3:]}], indent=indent), {"records": "d"}),
    }
    for name, (data, options) in shapes.items():
        result = found(tmp_path, data, block_bytes=block_bytes, id_field="id", metadata_fields=("more",), **options)
        assert result.values == NASTY, name
        assert list(result.ids.values()) == [str(i) for i in range(len(ROWS))]
        assert list(result.metadata.values()) == [{"more": row["more"]} for row in ROWS]
        assert not result.faults
        encoded = data.encode()
        for (_, position), row in zip(result.texts, ROWS, strict=True):
            assert json.JSONDecoder().raw_decode(encoded[position:].decode())[0] == row
        assert result.parts >= (3 if block_bytes == 20 else 1)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.floats(allow_nan=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=4)),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(max_size=4), VALUES, max_size=4)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(rows=st.lists(st.tuples(OBJECTS, st.text(max_size=30)), max_size=6), cuts=st.integers(1, 9), indent=st.sampled_from(INDENTS))
def test_however_a_file_is_cut_into_chunks_its_records_are_found(rows: list[Any], cuts: int, indent: int | None) -> None:
    records = [{**fields, "text": text} for fields, text in rows]
    source = SourceConfig(files=("a",), format="json", records="r")
    data = json.dumps({"l": [{"r": 0}], "r": records, "z": "r"}, indent=indent, ensure_ascii=False).encode("utf-8", "surrogatepass")
    chunks = iter([data[at : at + cuts] for at in range(0, len(data), cuts)])
    taken = []
    for part in cut_records(chunks, InputFile("a", "a", len(data), 0), source, 50):
        assert part.fault is None and part.bounds is not None
        taken += [part.data[start:end] for start, end in zip(*map(list, part.bounds), strict=True)]
        assert data[part.position : part.position + len(part.data)] == part.data
    assert [json.loads(record.decode("utf-8", "surrogatepass")) for record in taken] == records


def test_a_bad_record_costs_itself_alone(tmp_path: pathlib.Path) -> None:
    """It has the reason that it has on a line, and the byte and line of its place."""
    bad = [
        b'{"text": tru}',
        b"[1, [2]]",
        b'"a text"',
        b"17",
        b"null",
        b'{"text": "\xff"}',
        b'{"text": "\\ud800"}',
        b'{"body": "a"}',
        b'{"text": 1}',
        b"{]",
    ]
    good = b'{"text": "good", "n": NaN}'
    data = b"[" + b",\n".join(part for one in bad for part in (good, one)) + b"]"
    result = found(tmp_path, data)
    assert result.values == ["good"] * len(bad)
    expected = ["invalid_json", *["not_an_object"] * 4, "invalid_utf8", "lone_surrogate", "no_text", "text_not_a_string", "invalid_json"]
    assert result.reasons == expected
    for number, (fault, one) in enumerate(zip(result.faults, bad, strict=True)):
        assert data[fault.position :].startswith(one)
        assert fault.line == 2 * number + 2


LOST = {
    "cut in a record": ('[{"text": "a"}, {"text": "b', [("broken_file", 16)]),
    "cut behind a record": ('[{"text": "a"}', [("broken_file", 14)]),
    "cut in a name": ('[{"text": "a"}, {"te', [("broken_file", 16)]),
    "a comma is missing": ('[{"text": "a"} {"text": "b"}]', [("invalid_json", 15)]),
    "a bracket too many": ('[{"text": "a"}}, {"text": "b"}]', [("invalid_json", 14)]),
    "a bracket is missing": ('[{"text": "a", {"text": "b"}]', [("invalid_json", 1), ("broken_file", 29)]),
    "a quote is missing": ('[{"text": "a}, {"text": "b"}]', [("broken_file", 1)]),
    "text": ('{"text": "a"}\nplain words', [("invalid_json", 14)]),
    "only a bracket": ("[", [("broken_file", 1)]),
    "a NUL": ('{"text": "a"}\0', [("invalid_json", 13)]),
}


@pytest.mark.parametrize(("data", "faults"), LOST.values(), ids=LOST.keys())
def test_where_brackets_do_not_pair_up_the_rest_is_one_fault(tmp_path: pathlib.Path, data: str, faults: list[tuple[str, int]]) -> None:
    result = found(tmp_path, data)
    assert set(result.values) <= {"a"}
    assert [(fault.reason, fault.position) for fault in result.faults] == faults
    last = result.faults[-1]
    assert f"byte {last.position:,}" in last.message or f"after {len(data)} bytes" in last.message


def test_the_field_of_the_records_is_named_where_it_is_missing(tmp_path: pathlib.Path) -> None:
    for data, words in {
        '{"rows": [{"text": "a"}], "n": 1}': "the object has no field `data` (records: data); its fields are 'rows', 'n'",
        '{"data": "text"}': "the field `data` holds neither an array nor an object",
        "[[]]": "there is an array in an array where `data` should lie in an object",
        "17": "there is neither an object nor an array where `data` should lie in an object",
        "{}": "it is empty",
    }.items():
        result = found(tmp_path, data, records="data")
        (fault,) = result.faults
        assert fault.reason == "no_records" and words in fault.message
        assert not result.values


def test_a_record_that_is_too_long_costs_itself_alone_and_no_memory(tmp_path: pathlib.Path) -> None:
    rows = [
        '{"text": "a"}',
        '{"text": "' + "x\\n\n" * 3000 + '", "b": [[[1]]]}',
        '{"text": "b"}',
        '{"t": [' + "[[]],{}," * 2000 + '"]"]}',
        '{"text": "c"}',
    ]
    for block_bytes in (50, 1 << 20):
        result = found(tmp_path, "[" + ",\n".join(rows) + "]", max_document_mb=5000 / (1 << 20), block_bytes=block_bytes)
        assert result.values == ["a", "b", "c"]
        assert [(fault.reason, fault.line) for fault in result.faults] == [("oversized", 2), ("oversized", 3004)]
        assert [fault.position for fault in result.faults] == [16, 16 + len(rows[1]) + 2 + len(rows[2]) + 2]
    source = SourceConfig(files=("a",), format="json", max_document_mb=0.01)
    longest = 0

    def chunks() -> Any:
        yield b'[{"text": "'
        for _ in range(2000):
            yield b"x" * 10_000
        yield b'"}, {"text": "a"}, '
        for _ in range(2000):
            yield b"[" * 10_000

    walked = cut_records(chunks(), InputFile("a", "a", 0, 0), source, 1000)
    for part in walked:
        longest = max(longest, len(part.data))
    assert longest < 30_000
    assert part.fault is not None and part.fault[0] == "broken_file"


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_whole_numbers_beyond_64_bits_stay_exact(tmp_path: pathlib.Path, kind: str) -> None:
    numbers = [2**63, 2**64, -(2**63) - 1, 10**30 + 1, 2**53 + 1, 12345678901234567890123]
    rows = [{"text": "a", "id": number, "kept": {"n": [number]}} for number in numbers]
    result = found(tmp_path, concatenated(rows, None), kind, id_field="id", metadata_fields=("kept",))
    assert list(result.ids.values()) == [str(number) for number in numbers]
    exact = [number if -(2**63) <= number < 2**64 else str(number) for number in numbers]  # as text where 64 bits do not hold it
    assert list(result.metadata.values()) == [{"kept": {"n": [number]}} for number in exact]
    result = found(tmp_path, '{"text": "a", "id": 1e300}\n{"text": "a", "id": 18446744073709551616.0}', kind, id_field="id")
    assert result.reasons == ["no_id", "no_id"]


def test_arrays_of_objects_are_told_from_lines_that_begin_with_a_bracket() -> None:
    for head in (b"[]", b"[ ]\n", b"[", b"[\r\n", b'[{"a"', b"\xef\xbb\xbf\n [ \n {"):
        assert is_array(head)
    for head in (b"", b"[1]", b'["a"]', b"[] and more", b"[2026] a log\n", b'{"a": []}', b"[]\n[]"):
        assert not is_array(head)

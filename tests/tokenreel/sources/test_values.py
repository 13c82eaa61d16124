from __future__ import annotations

import datetime
import decimal
import itertools
import json
import pathlib
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import reading
from tokenreel.config.corpus import SourceConfig
from tokenreel.errors import SourceError
from tokenreel.sources import values
from tokenreel.sources.blocks import list_blocks
from tokenreel.sources.reading import read_documents


def test_a_document_has_one_key_wherever_its_corpus_lies(tmp_path: pathlib.Path) -> None:
    keys = []
    for folder in ("a", "b/c"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "x.txt").write_bytes(b"one\ntwo\n")
        (tmp_path / folder / "y.txt").write_bytes(b"one\n")
        source = SourceConfig(files=(str(tmp_path / folder),), format="lines")
        keys.append([int(key) for block in list_blocks(source, 0, 4) for part in read_documents(block, source, 4) for key in part.key])
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == 3


WHOLE = {"19 digits": 2**63, "20 digits": 2**64, "308 digits": 10**307, "400 digits": 10**399, "4,000 digits": 10**3999}


@pytest.mark.parametrize("number", WHOLE)
@pytest.mark.parametrize("sign", [1, -1])
def test_huge_whole_numbers_order_documents_or_are_dead_letters(tmp_path: pathlib.Path, number: str, sign: int) -> None:
    """Python converts none beyond 1.8e308 to a float, and none of more than 4,300 digits to text."""
    value = sign * WHOLE[number]
    lines = [f'{{"text": "{name}", "n": {n}, "kept": {n}}}' for name, n in (("huge", value), ("one", 1), ("longer", "9" * 5000))]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    source = SourceConfig(files=(str(tmp_path),), order_field="n", metadata_fields=("n", "kept"))
    ((found,),) = ([*read_documents(block, source, 1 << 20)] for block in list_blocks(source, 0, 1 << 20))
    faults = {fault.line: (fault.reason, fault.message) for fault in found.faults}
    assert faults.pop(3)[0] == "invalid_json"
    if abs(value) < 1.7e308:
        assert not faults
        assert found.sort_value is not None
        assert (found.sort_value[0] > found.sort_value[1]) == (sign > 0)
    else:
        assert faults == {1: ("no_order", "the field 'n' holds a number beyond all range")}
        assert len(found) == 1
    assert found.metadata is not None
    assert len(found.metadata) == len(found)


def test_a_number_too_large_to_sort_by_is_a_dead_letter(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f'{{"text": "{i}", "n": {n}}}\n' for i, n in enumerate(("9" * 400, "-" + "9" * 400, "1" * 300, "-1"))))
    found = reading.read(path, "jsonl", order_field="n")
    assert found.values == ["2", "3"] and found.reasons == ["no_order"] * 2
    assert all("a number beyond all range" in fault.message for fault in found.faults)


def test_ids_of_json_are_text_or_whole_numbers_exactly(tmp_path: pathlib.Path) -> None:
    huge = 123456789012345678901234567890
    values = [f'"a {huge}"', huge, -huge, 7, 7.0, 2**64 - 1, 2**64, '" "', '""', '"\\u3000"', 7.5, 1e300, "true", "null", "[1]"]
    (tmp_path / "a.jsonl").write_text("".join(f'{{"text": "x", "id": {value}, "m": [{value}]}}\n' for value in values))
    source = SourceConfig(files=(str(tmp_path),), id_field="id", metadata_fields=("m",))
    ((found,),) = ([*read_documents(block, source, 1 << 20)] for block in list_blocks(source, 0, 1 << 20))
    assert found.ids == [f"a {huge}", str(huge), str(-huge), "7", "7", str(2**64 - 1), str(2**64)]
    assert {fault.reason for fault in found.faults} == {"no_id"} and len(found.faults) == len(values) - 7
    assert found.metadata is not None
    kept = [json.loads(metadata)["m"][0] for metadata in found.metadata]
    assert kept == [f"a {huge}", str(huge), str(-huge), 7, 7.0, 2**64 - 1, str(2**64)]


def test_ids_of_tables_are_accepted_or_refused_by_their_type(tmp_path: pathlib.Path) -> None:
    number = uuid.UUID(int=5)
    accepted: dict[str, tuple[pa.Array, list[str]]] = {
        "text": (pa.array(["a", "b"]), ["a", "b"]),
        "dictionary": (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
        "int": (pa.array([1, -2], pa.int16()), ["1", "-2"]),
        "float": (pa.array([1.0, 2.0**53]), ["1", str(2**53)]),
        "decimal": (pa.array([decimal.Decimal("3.00"), decimal.Decimal("0.25")]), ["3", "0.25"]),
        "uuid": (pa.array([number.bytes, uuid.UUID(int=6).bytes], pa.uuid()), [str(number), str(uuid.UUID(int=6))]),
        "binary": (pa.array([b"\x00\xff", b"a"]), ["00ff", "61"]),
        "fixed": (pa.array([b"ab", b"cd"], pa.binary(2)), ["6162", "6364"]),
    }
    for name, (column, expected) in accepted.items():
        pq.write_table(pa.table({"text": ["x", "y"], "id": column}), tmp_path / f"{name}.parquet")
        found = reading.read(tmp_path / f"{name}.parquet", "parquet", id_field="id")
        assert list(found.ids.values()) == expected, name
    refused = [pa.array([True, False]), pa.array([[1], [2]]), pa.array([datetime.date(2024, 1, 1)] * 2), pa.array([{"a": 1}] * 2)]
    for column in refused:
        pq.write_table(pa.table({"text": ["x", "y"], "id": column}), tmp_path / "refused.parquet")
        with pytest.raises(SourceError, match="only text, numbers, UUIDs and bytes name documents"):
            reading.read(tmp_path / "refused.parquet", "parquet", id_field="id")
    pq.write_table(pa.table({"text": ["x", "y", "z"], "id": [1.5, 2.0**60, None]}), tmp_path / "doubtful.parquet")
    assert reading.read(tmp_path / "doubtful.parquet", "parquet", id_field="id").reasons == ["no_id"] * 3


def decodes(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_the_quick_check_of_utf8_finds_what_python_finds() -> None:
    singles = [bytes([a, b]) for a in range(256) for b in range(256)]  # all of two bytes
    leads = [0xE0, 0xED, 0xEF, 0xF0, 0xF4, 0xF5]
    edges = [
        bytes([lead, *rest])
        for lead in leads
        for rest in itertools.product((0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0), repeat=3)
    ]
    whole = "aäअ😀".encode() * 9
    cut = [whole[:end] for end in range(len(whole))] + [whole[start:] for start in range(len(whole))]
    found = {data: values.is_utf8(data) for data in [*singles, *edges, *cut, b""]}
    assert found == {data: decodes(data) for data in found}
    assert {values.is_utf8(memoryview(np.frombuffer(data, dtype=np.uint8))) for data in (b"", "ä".encode())} == {True}

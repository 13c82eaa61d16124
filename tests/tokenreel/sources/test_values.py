from __future__ import annotations

import pathlib

import pytest

from tests import reading
from tokenreel.config.corpus import SourceConfig
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

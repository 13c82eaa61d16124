from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
import pytest

from tests import buckets
from tests.documents import documents
from tokenreel.config.corpus import FilterConfig, LineRules
from tokenreel.curation import filters
from tokenreel.curation.cleaned import Cleaned
from tokenreel.curation.filters import Rules
from tokenreel.errors import BuildError
from tokenreel.sources.inputs import Block
from tokenreel.staging import encoding, stage_file
from tokenreel.staging.columns import COLUMNS, Columns, StageInfo
from tokenreel.storage import files
from tokenreel.vocabularies.loading import load_vocabulary

BLOCK = Block(0, 3, ())
RULES = Rules(FilterConfig(lines=LineRules(drop_phrases=("menu",)), max_characters=12, max_tokens=10))


def write(path: pathlib.Path, *, hashed: bool) -> StageInfo:
    found = documents("menu\none", "", "two", "menu", "one", "far too long for this", "one", "11 bytes ...")
    cleaned = filters.clean(Cleaned.of(found), RULES)
    columns, cleaned = encoding.encode(cleaned, load_vocabulary("bytes", None), RULES, hashed=hashed)
    return stage_file.write(str(path), BLOCK, 0, True, cleaned, columns, "uint16")


@pytest.mark.parametrize("hashed", [False, True])
def test_a_stage_file_reads_back_as_it_was_written(tmp_path: pathlib.Path, hashed: bool) -> None:
    written = write(tmp_path / "x.stage", hashed=hashed)
    assert stage_file.reopen(str(tmp_path / "x.stage"), BLOCK) == written
    assert written.filtered == {"empty": 1, "no_line_left": 1, "too_many_characters": 1, "too_many_tokens": 1}
    assert (written.lines_removed, written.characters_removed) == ({"line_with_phrase": 2}, len("menu\n") + len("menu"))
    assert (written.documents, written.tokens, written.modified) == (4, 12, 1)
    assert (written.hashes, written.repeats) == ((2, 2) if hashed else (0, 0))
    if hashed:
        table = stage_file.hash_table(written)
        kept = set(table.between(0, 1 << 64)[:, 3].tolist())
        assert kept | set(table.read_duplicates().tolist()) == set(range(4))
        tokens, offsets = (stage_file.StageFile(written).read(name) for name in ("tokens", "token_offset"))
        assert {bytes(np.array(tokens[offsets[i] : offsets[i + 1]]).astype(np.uint8) - 3) for i in kept} == {b"one", b"two"}


def everything(num_documents: int) -> Cleaned:
    """Documents with all that a source can give them: names, metadata, a value to sort by, and a fault."""
    found = documents(*(f"Text {i % 3}. And more." for i in range(num_documents)))
    found.ids = [f"name-{i}" for i in range(num_documents)]
    found.metadata = [f'{{"i": {i}}}' for i in range(num_documents)]
    found.sort_value = np.arange(num_documents, dtype=np.uint64) + (1 << 63)
    found.set_aside({0: ("bad", "for a test")})
    return Cleaned.of(found)


@pytest.mark.parametrize("num_documents", [1, 9])
def test_every_column_reads_back_as_it_was_written(tmp_path: pathlib.Path, num_documents: int) -> None:
    vocabulary = load_vocabulary("bytes", None)
    columns, cleaned = encoding.encode(everything(num_documents), vocabulary, Rules(), "rules", hashed=True, with_offsets=True)
    info = stage_file.write(str(tmp_path / "x.stage"), BLOCK, 0, True, cleaned, columns, "uint16")
    assert {column.name for column in COLUMNS} == {field.name for field in dataclasses.fields(Columns)}
    ends = []
    for column in COLUMNS:
        place, dtype, length = info.place(column.name)
        assert place % 64 == 0 and all(place >= end for end in ends)
        ends.append(place + dtype.itemsize * length)
        np.testing.assert_array_equal(stage_file.StageFile(info).read(column.name), getattr(columns, column.name), err_msg=column.name)
    assert max(ends) == info.covered.end and info.end == (tmp_path / "x.stage").stat().st_size
    assert [fault.reason for fault in stage_file.read_faults(info)] == ["bad"]


def test_a_file_has_only_the_columns_that_were_asked_for(tmp_path: pathlib.Path) -> None:
    info = write(tmp_path / "x.stage", hashed=False)
    empty = {column.name for column in COLUMNS if not info.place(column.name)[2]}
    optional = {"id", "metadata", "sort_value", "sentence_length", "hash", "duplicate_row", "token_spans", "faults"}
    assert empty == optional | {"id_offset", "metadata_offset", "sentence_offset"}
    with pytest.raises(KeyError):
        info.place("spans")


def test_a_byte_that_changed_is_found_by_whoever_reads_it(tmp_path: pathlib.Path) -> None:
    """Between the look at the whole file and the reading of a part of it, disks and people do what they like."""
    path = tmp_path / "x.stage"
    info = write(path, hashed=True)
    sound = path.read_bytes()
    for name in ("key", "token_offset", "tokens", "characters", "hash"):
        place, dtype, length = info.place(name)
        altered = bytearray(sound)
        altered[place + dtype.itemsize * length - 1] ^= 4
        path.write_bytes(bytes(altered))
        assert stage_file.reopen(str(path), BLOCK) is None
        with pytest.raises(BuildError, match="are not those that were written"):
            stage_file.StageFile(info).read(name)
        with pytest.raises(BuildError, match="are not those that were written"):
            stage_file.StageFile(info).documents_between(0, 1 << 63)
        with pytest.raises(BuildError, match="are not those that were written"):
            stage_file.hash_table(info).between(0, 1 << 64)


def test_a_header_names_the_bound_of_documents_only_where_it_cut(tmp_path: pathlib.Path) -> None:
    for bound in (0, 9):
        path = str(tmp_path / f"{bound}.stage")
        cleaned = Cleaned.of(dataclasses.replace(documents("one"), bound=bound))
        columns, cleaned = encoding.encode(cleaned, load_vocabulary("bytes", None), RULES)
        info = stage_file.write(path, BLOCK, 0, True, cleaned, columns, "uint16")
        assert stage_file.reopen(path, BLOCK) == info and info.bound == bound
        assert stage_file.StageFile(info).header().get("bound") == (bound or None)


def test_documents_are_found_by_their_keys(tmp_path: pathlib.Path) -> None:
    info = write(tmp_path / "x.stage", hashed=False)
    stage = stage_file.StageFile(info)
    key = stage.read("key").tolist()
    for low, high in [(0, 1 << 64), (key[0], key[-1]), (key[1], key[1]), (key[1] + 1, key[2] + 1), (0, 1), (key[-1], 1 << 64)]:
        assert stage.documents_between(low, high) == (sum(k < low for k in key), sum(k < high for k in key))


def test_an_object_that_is_damaged_where_it_lies_is_made_again(tmp_path: pathlib.Path) -> None:
    with buckets.server() as server:
        info = write(tmp_path / "x.stage", hashed=False)
        data = bytearray((tmp_path / "x.stage").read_bytes())
        path = f"gs://{buckets.BUCKET}/x.stage"
        files.write_bytes(path, bytes(data))
        found = stage_file.reopen(path, BLOCK)
        assert found == dataclasses.replace(info, path=path)
        data[info.place("tokens")[0]] ^= 1
        server.requests.clear()
        files.write_bytes(path, bytes(data))
        assert stage_file.reopen(path, BLOCK) is None, "its CRC tells, though nothing but its header is read"

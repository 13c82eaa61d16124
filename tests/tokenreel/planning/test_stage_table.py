from __future__ import annotations

import dataclasses
import pathlib
import random

import numpy as np
import pytest

from tokenreel.planning import stage_table
from tokenreel.planning.selection import StageSelection
from tokenreel.planning.stage_table import StageTable
from tokenreel.staging.columns import StageInfo
from tokenreel.storage import column_file
from tokenreel.storage.column_file import ColumnFile, Columns


def selection(source: int, block: int, part: int = 0, *, repeats: int = 2, **changes: object) -> StageSelection:
    chance = random.Random(f"{source} {block} {part}")
    counts = {field.name: chance.randrange(1 << 40) for field in dataclasses.fields(StageInfo) if field.type == "int"}
    info = StageInfo(
        path=f"/somewhere/{chance.getrandbits(128):032x}-{part:05d}.stage",
        last=bool(block % 2),
        ordered=False,
        offsets=True,
        token_dtype=("uint16", "uint32")[source % 2],
        filtered={"empty": 3, "bad_word": block} if block % 3 else {},
        lines_removed={"duplicate_line": 0},
        **{**counts, "source": source, "block": block, "part": part},
    )
    splits = {
        "train": tuple(tuple(chance.randrange(1000) for _ in range(4)) for _ in range(repeats)),
        "validation": ((chance.randrange(1000),) * 4,),
    }
    return dataclasses.replace(
        StageSelection(info=info, splits=splits, duplicates=5, not_sampled=block, removed="/x/a.rows" if block % 2 else None), **changes
    )


EVERY = [selection(source, block, part) for source in range(2) for block in range(5) for part in range(2)]


def write(directory: pathlib.Path, selections: list[StageSelection]) -> ColumnFile:
    return column_file.write(str(directory), "stages", Columns.of_rows([stage_table.to_row(each) for each in selections]))


def test_what_was_written_is_read(tmp_path: pathlib.Path) -> None:
    table = stage_table.load(write(tmp_path, EVERY))
    assert list(table) == list(StageTable.of(EVERY)) == EVERY
    assert table[3:5] == EVERY[3:5] and len(table) == len(EVERY)
    assert isinstance(table[0].info.last, bool)
    with pytest.raises(IndexError):
        table[len(EVERY)]


def test_columns_count_as_the_rows_do() -> None:
    table = StageTable.of(EVERY)
    for repeat in (None, 0, 1, 2):
        for split in ("train", "validation"):
            assert table.counts(split, repeat).tolist() == [list(each.counts(split, repeat)) for each in EVERY]
    assert table.repeated().tolist() == [each.splits["train"][1][0] for each in EVERY]
    assert table.token_bytes().tolist() == [np.dtype(each.info.token_dtype).itemsize for each in EVERY]
    for source in (None, 0, 1, 2):
        rows = table.of_source(source)
        own = [each for each in EVERY if source in (None, each.info.source)]
        assert [table[i] for i in rows.tolist()] == own
        for name in ("filtered", "lines_removed"):
            expected: dict[str, int] = {}
            for each in own:
                for reason, count in getattr(each.info, name).items():
                    expected[reason] = expected.get(reason, 0) + count
            assert table.summed(name, rows) == expected, "also reasons that nothing was left out for"


def test_sources_with_fewer_repeats_have_none_of_the_others() -> None:
    table = StageTable.of([selection(0, 0, repeats=1), selection(1, 0, repeats=3)])
    assert table.counts("train", 2)[0].tolist() == [0, 0, 0, 0]
    assert table[0].counts("train") == selection(0, 0, repeats=1).counts("train")


def test_no_stage_files() -> None:
    table = StageTable.of([])
    assert (list(table), table.counts("train").tolist(), table.summed("filtered"), table.token_bytes().tolist()) == ([], [], {}, [])


def test_the_identity_is_what_is_taken_and_not_where_it_lies() -> None:
    def moved(each: StageSelection) -> StageSelection:
        removed = each.removed and each.removed.replace("/x", "/elsewhere")
        return dataclasses.replace(each, info=dataclasses.replace(each.info, path=each.info.path.replace("some", "any")), removed=removed)

    identity = StageTable.of(EVERY).identity
    assert StageTable.of([moved(each) for each in EVERY]).identity == identity
    assert StageTable.of([*EVERY[:-1], dataclasses.replace(EVERY[-1], removed="/x/b.rows")]).identity != identity
    assert StageTable.of([*EVERY[:-1], selection(7, 7)]).identity != identity


def test_changed_rows_take_the_place_of_the_old_ones(tmp_path: pathlib.Path) -> None:
    changed = [dataclasses.replace(each, duplicates=9, removed="/x/new.rows") for each in EVERY[3:17:4]]
    found = stage_table.load(stage_table.replace(write(tmp_path, EVERY), write(tmp_path, changed), str(tmp_path)))
    expected = {each.info.path: each for each in [*EVERY, *changed]}
    assert list(found) == list(expected.values())
    assert list(stage_table.load(stage_table.replace(write(tmp_path, EVERY), write(tmp_path, []), str(tmp_path)))) == EVERY

from __future__ import annotations

import pathlib
import pickle
import random

import pytest

from tokenreel.storage import column_file
from tokenreel.storage.claims import Folder
from tokenreel.storage.column_file import ColumnFile
from tokenreel.storage.gathering import Gathered


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda fd: None)
    monkeypatch.setattr("tokenreel.storage.gathering._SPILLED_ROWS", 64)


def gather(directory: pathlib.Path, count: int, seed: int, sizes: list[int]) -> ColumnFile:
    """Gathers rows on workers that get some each in any order, and that merge as they come; every message's size goes to `sizes`."""
    chance = random.Random(seed)
    numbers = chance.sample(range(count), count)
    whole = Gathered(Folder(str(directory)), "rows")
    while numbers:
        size = chance.randint(1, 500)
        part, numbers = numbers[:size], numbers[size:]
        worker = Gathered(Folder(str(directory)), "rows")
        for number in part:
            worker.add(
                {"source": number // 100, "block": number % 100, "path": f"{number:032d}.stage", **({"odd": number} if number % 2 else {})}
            )
        worker.shrink()
        for gathered in (worker, whole):
            gathered.shrink()
            sizes.append(len(pickle.dumps(gathered)))
        whole.merge(pickle.loads(pickle.dumps(worker)))
    return whole.finish(("source", "block"))


@pytest.mark.parametrize("count", [0, 1, 5, 64, 1000])
def test_the_same_rows_give_the_same_table(tmp_path: pathlib.Path, count: int) -> None:
    files = [gather(tmp_path, count, seed, []) for seed in range(3)]
    assert len({file.path for file in files}) == len({file.digest for file in files}) == 1
    found = column_file.read(files[0])
    assert found.rows == count
    assert (found.numbers("source") * 100 + found.numbers("block")).tolist() == list(range(count)), "sorted"
    assert all(found.row(i)["path"] == f"{i:032d}.stage" and found.row(i).get("odd", 0) == (i if i % 2 else 0) for i in range(count))


def test_what_travels_stays_small(tmp_path: pathlib.Path) -> None:
    sizes: list[int] = []
    gather(tmp_path, 6_000, 1, sizes)
    assert max(sizes) < 8_000

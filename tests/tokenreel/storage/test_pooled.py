"""Requests side by side."""

from __future__ import annotations

import pathlib
import threading
from collections.abc import Iterator

import pytest

from tests import buckets
from tokenreel.storage import files, pooled


@pytest.mark.parametrize("remote", [False, True])
def test_results_come_in_order(remote: bool) -> None:
    threads = set()

    def square(number: int) -> int:
        threads.add(threading.current_thread().name)
        return number * number

    assert list(pooled.each(square, range(200), remote=remote)) == [number * number for number in range(200)]
    assert remote == all(name.startswith("tokenreel-storage") for name in threads)


def test_only_a_window_is_ahead() -> None:
    """Of a million stage files no more are read than are about to be used."""
    asked = []

    def numbers() -> Iterator[int]:
        for number in range(1000):
            asked.append(number)
            yield number

    found = pooled.each(lambda number: number, numbers(), remote=True, at_once=4)
    assert next(found) == 0 and len(asked) == 8
    found.close()  # type: ignore[attr-defined]


def test_an_error_ends_it() -> None:
    def fail(number: int) -> int:
        if number == 3:
            raise OSError("refused")
        return number

    with pytest.raises(OSError, match="refused"):
        list(pooled.each(fail, range(100), remote=True))


def test_files_are_removed_side_by_side(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kept").write_text("")
    (tmp_path / "removed").write_text("")
    with buckets.server():
        folder = f"gs://{buckets.BUCKET}/folder"
        for number in range(100):
            files.write_bytes(f"{folder}/{number}", b"x")
        threads = set()
        remove = files.remove

        def counted(path: str) -> None:
            threads.add(threading.current_thread().name)
            remove(path)

        monkeypatch.setattr(files, "remove", counted)
        paths = [f"{folder}/{number}" for number in range(50)]
        pooled.remove([*paths, f"{folder}/gone", str(tmp_path / "removed"), str(tmp_path / "gone")])
        assert len(threads) > 2  # this one, for local files, and several that wait for the server
        assert sorted(files.list_files(folder)) == sorted(map(str, range(50, 100)))
        pooled.remove_tree(folder)
        assert files.list_files(folder) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]

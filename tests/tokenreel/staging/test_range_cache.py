from __future__ import annotations

import pathlib

from tokenreel.staging import range_cache
from tokenreel.storage import files


def test_the_ranges_read_last_are_kept_within_a_bound(tmp_path: pathlib.Path) -> None:
    read: list[str] = []
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode() * 100)
    kept = range_cache._RangeCache(100)

    def reads(order: str, size: int = 50) -> str:
        def fetch(name: str) -> bytes:
            def reading(begin: int, count: int) -> bytes:
                read.append(name)
                return files.read_bytes(str(tmp_path / name), begin, count)

            return kept.read(name, 10, size, reading)

        read.clear()
        assert all(fetch(name) == name.encode() * size for name in order)
        return "".join(read)

    assert reads("aabab") == "ab"
    assert reads("cabb") == "c", "what does not fit takes no place from what is asked for"
    assert reads("b", size=20) == "b", "another range of the file takes its place"
    assert reads("bca", size=20) == "ca", "and leaves room for others"
    stale = range_cache._STALE_READS * 3
    assert reads("ab" * stale, size=20) == "" and reads("c" * 3, size=30) == "c", "the one that was not needed for longest goes first"
    kept = range_cache._RangeCache(80)
    assert reads("c", size=90) == "c" and reads("c", size=90) == "", "one is kept however large"


def test_a_scan_that_does_not_fit_finds_what_does() -> None:
    """Groups of a shuffle read all stage files one after the other, again and again."""
    read: list[str] = []

    def read_one(path: str) -> None:
        kept.read(path, 0, 28_000 * 16 // 1000, lambda begin, size: (read.append(path), bytes(size))[1])

    for count, expected in ((400, 0.9), (1000, 0.4), (2000, 0.2)):
        kept = range_cache._RangeCache(range_cache._INDEX_BYTES // 1000)
        for _ in range(20):
            read.clear()
            for number in range(count):
                for _ in range(3):  # keys, then offsets, of each
                    read_one(f"{number}")
        misses = len(set(read))
        assert 1 - misses / count > expected, (count, misses)

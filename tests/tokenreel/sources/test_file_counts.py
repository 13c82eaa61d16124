from __future__ import annotations

from typing import Any

from tokenreel.sources import file_counts
from tokenreel.sources.file_counts import FileCounts


def header(*counts: FileCounts) -> dict[str, Any]:
    return file_counts.to_header(counts)


def test_the_ends_are_told_whatever_lies_between() -> None:
    first, gave, last = FileCounts("a.tar#ä", 3, 0), FileCounts("a.tar#\udc80", 4, 2), FileCounts("b.jsonl", 5, 0)
    between = [FileCounts(f"a.tar#{number}", number, 0) for number in range(1000)]
    told = file_counts.outer(header(first, *between, gave, gave, *between, last))
    assert file_counts.read(told) == [first, gave, gave, last]
    for counts in ([], [first], [gave], [first, gave], [gave, last]):
        assert file_counts.read(file_counts.outer(header(*counts))) == counts == file_counts.of_header(header(*counts))


def test_a_header_is_to_be_read_where_something_was_lost_or_names_are_long() -> None:
    sound = FileCounts("a.jsonl", 3, 3)
    for other in (sound._replace(dead_letters={"no_text": 1}), sound._replace(lost_bytes=1), sound._replace(name="ä" * 500)):
        assert file_counts.outer(header(sound, other)) == ""

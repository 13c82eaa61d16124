from __future__ import annotations

import pathlib
import re
import tracemalloc

import pytest

from tests.tokenreel.sources.plain import COMPRESS, plainly, read
from tokenreel.config.corpus import SourceConfig
from tokenreel.sources.blocks import list_blocks
from tokenreel.sources.reading import read_documents


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("kind", ["lines", "paragraphs", "text"])
def test_archives_cut_anywhere_keep_what_came_before(tmp_path: pathlib.Path, ending: str, kind: str) -> None:
    text = b"".join(b"line number %d\n%s" % (i, b"\n" * (i % 3 == 0)) for i in range(20_000))
    packed = COMPRESS[ending](text)
    path = tmp_path / f"a.txt{ending}"
    path.write_bytes(packed)
    whole, _ = read(path, kind, 50_000)
    if kind != "text":
        assert {at: document for (_, at), document in whole.items()} == plainly(text, kind)
    for cut in (5, len(packed) // 2, len(packed) - 1):
        path.write_bytes(packed[:cut])
        found, parts = read(path, kind, 50_000)
        faults = [fault for part in parts for fault in part.faults]
        assert [fault.reason for fault in faults] == ["broken_archive"]
        assert found.items() <= whole.items()
        assert all(at < faults[0].position for _, at in found)
    path.write_bytes(b"no archive at all, and no text:\0")
    assert [fault.reason for part in read(path, kind, 50_000)[1] for fault in part.faults] == ["broken_archive"]


@pytest.mark.parametrize("ending", COMPRESS)
def test_archives_of_several_members(tmp_path: pathlib.Path, ending: str) -> None:
    path = tmp_path / f"a.txt{ending}"
    path.write_bytes(COMPRESS[ending](b"one\ntw") + COMPRESS[ending](b"o\nthree") + b"\0" * 512 * (ending == ".gz"))
    assert list(read(path, "lines", 1000)[0].values()) == ["one", "two", "three"]


def test_lines_are_counted_for_the_dead_letters(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"good\n\nbad \xff\ngood\n\xfe bad\n")
    _, (part,) = read(path, "lines", 1000)
    assert [(fault.line, fault.position) for fault in part.faults] == [(3, 6), (5, 17)]
    assert part.lines == [5]


def bomb(ending: str, megabytes: int) -> bytes:
    """An archive of zeros, made of one megabyte that is repeated as members; the first is a good line."""
    pack = COMPRESS[ending]
    return pack(b"good\n") + pack(bytes(1 << 20)) * megabytes + pack(b"\nlast\n")


@pytest.mark.parametrize("ending", COMPRESS)
def test_an_archive_bomb_is_one_dead_letter(tmp_path: pathlib.Path, ending: str) -> None:
    path = tmp_path / f"a.txt{ending}"
    path.write_bytes(bomb(ending, 60))
    source = SourceConfig(files=(str(path),), format="lines", max_document_mb=4)  # 16 documents of that are more than it unpacks to
    tracemalloc.start()
    (block,) = list_blocks(source, 0, 1 << 20)
    parts = list(read_documents(block, source, 1 << 20))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 24 << 20  # of which the dictionary of .xz is 8
    assert b"".join(part.text.tobytes() for part in parts) == b"goodlast"
    assert [(fault.position, fault.reason) for part in parts for fault in part.faults] == [(5, "oversized")]
    assert sum(line for part in parts for line in part.lines) == 3


@pytest.mark.parametrize("ending", sorted(set(COMPRESS) - {".gz"}))  # which packs no more than a thousand times
def test_an_archive_bomb_beyond_all_documents_is_read_no_further(tmp_path: pathlib.Path, ending: str) -> None:
    path = tmp_path / f"a.txt{ending}"
    path.write_bytes(bomb(ending, 60))
    source = SourceConfig(files=(str(path),), format="lines", max_document_mb=1)
    (block,) = list_blocks(source, 0, 1 << 20)
    parts = list(read_documents(block, source, 1 << 20))
    assert b"".join(part.text.tobytes() for part in parts) == b"good"
    (fault,) = [fault for part in parts for fault in part.faults]
    assert fault.position == 5 and re.search(r"unpack to more than 1\d,\d{3},\d{3}, which sources.max_document_mb allows", fault.message)

"""How many bytes on disk a reader says are lost, for every format and kind of damage."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import pathlib
import random
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tests.tokenreel.sources.readers.test_tfrecords import example
from tokenreel.config.corpus import SourceConfig
from tokenreel.format import tfrecord
from tokenreel.sources.blocks import list_blocks
from tokenreel.sources.reading import read_documents

RNG = random.Random(3)
TEXTS = [" ".join(f"{RNG.randrange(1 << 30)}" for _ in range(20)) for _ in range(2000)]
LINES = [json.dumps({"text": text}).encode() + b"\n" for text in TEXTS]
PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}


def lost_share(path: pathlib.Path, kind: str, block_bytes: int = 1 << 24) -> float:
    source = SourceConfig(files=(str(path),), format=kind)  # type: ignore[arg-type]
    parts = [part for block in list_blocks(source, 0, block_bytes) for part in read_documents(block, source, block_bytes)]
    assert sum(part.num_dead_letters for part in parts)
    return sum(sum(part.lost_bytes) for part in parts) / path.stat().st_size


def spoiled(every: int) -> list[bytes]:
    """Lines of which some have another key."""
    return [line.replace(b'"text"', b'"body"') if i % every == 0 else line for i, line in enumerate(LINES)]


@pytest.mark.parametrize("ending", ["", *PACK])
@pytest.mark.parametrize("block_bytes", [1 << 24, 50_000])
def test_a_record_counts_its_share_of_the_file(tmp_path: pathlib.Path, ending: str, block_bytes: int) -> None:
    data = b"".join(spoiled(4))
    (tmp_path / f"a{ending}").write_bytes(PACK[ending](data) if ending else data)
    assert lost_share(tmp_path / f"a{ending}", "jsonl", block_bytes) == pytest.approx(0.25, rel=0.1)


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz"])  # of Zstandard without checksums random bytes may be text
@pytest.mark.parametrize("kind", ["jsonl", "text"])
def test_of_an_archive_that_breaks_counts_what_was_not_read(tmp_path: pathlib.Path, ending: str, kind: str) -> None:
    packed = bytearray(PACK[ending](b"".join(LINES)))
    place = len(packed) // 3
    packed[place : place + 5000] = RNG.randbytes(5000)
    (tmp_path / f"a{ending}").write_bytes(packed)
    found = lost_share(tmp_path / f"a{ending}", kind)
    # An archive in blocks tells of damage at the end of the block.
    assert found == pytest.approx(2 / 3, rel=0.1) if kind == "jsonl" and ending == ".gz" else 0.05 < found <= 1.1


def test_rows_of_tables_count_the_same(tmp_path: pathlib.Path) -> None:
    texts = [None if i % 5 == 0 else text for i, text in enumerate(TEXTS)]
    table = pa.table({"text": texts})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=300)
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=300)
    for block_bytes in (1 << 24, 50_000):
        assert lost_share(tmp_path / "a.parquet", "parquet", block_bytes) == pytest.approx(0.2, rel=0.01)
        assert lost_share(tmp_path / "a.arrow", "arrow", block_bytes) == pytest.approx(0.2, rel=0.1)


def test_broken_files_count_what_is_behind_the_damage(tmp_path: pathlib.Path) -> None:
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "whole.parquet")
    (tmp_path / "a.parquet").write_bytes((tmp_path / "whole.parquet").read_bytes()[:-9])
    assert lost_share(tmp_path / "a.parquet", "parquet") == 1
    frames = [tfrecord.frame(example(text=text)) for text in TEXTS]
    data = bytearray(b"".join(frames))
    data[sum(map(len, frames[:500])) + 2] ^= 1  # the length of a record
    (tmp_path / "a.tfrecord").write_bytes(data)
    assert lost_share(tmp_path / "a.tfrecord", "tfrecord") == pytest.approx(0.75, rel=0.1)
    (tmp_path / "a.csv").write_text(
        "text\n" + "".join(f"{text}\n" for text in TEXTS[:1000]) + '"' + "".join(f"{text}\n" for text in TEXTS[1000:])
    )
    assert lost_share(tmp_path / "a.csv", "csv") == pytest.approx(0.5, rel=0.1)
    (tmp_path / "long.jsonl").write_bytes(LINES[0] + b'{"text": "' + b"x" * 300_000 + b'"}\n' + LINES[1])
    source = SourceConfig(files=(str(tmp_path / "long.jsonl"),), max_document_mb=0.1)
    (block,) = list_blocks(source, 0, 1 << 24)
    for part_bytes in (1 << 24, 1000):
        assert sum(sum(part.lost_bytes) for part in read_documents(block, source, part_bytes)) == pytest.approx(300_012, abs=2)

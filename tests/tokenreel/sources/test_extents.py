from __future__ import annotations

import gzip
import io
import itertools
import json
import pathlib
from collections.abc import Callable

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tokenreel.sources import test_archives
from tests.tokenreel.sources.plain import COMPRESS
from tokenreel.config.corpus import SourceConfig
from tokenreel.format import tfrecord
from tokenreel.sources.blocks import list_blocks
from tokenreel.sources.extents import Extent, MeasuredStream, join
from tokenreel.sources.reading import read_documents

TEXTS = [f"document {i} " + "long " * (i % 7 * 40) for i in range(300)]
PAGES = [(f"http://x/{i}", text) for i, text in enumerate(TEXTS)]


def parquet(path: pathlib.Path) -> None:
    table = pa.table({"text": TEXTS, "other": list(np.random.default_rng(0).bytes(100) for _ in TEXTS)})
    pq.write_table(table, path, row_group_size=20)


def arrow(path: pathlib.Path, writer: Callable[..., pa.RecordBatchWriter]) -> None:
    table = pa.table({"text": TEXTS, "other": list(range(300))})
    with writer(str(path), table.schema) as out:
        for batch in table.to_batches(max_chunksize=20):
            out.write_batch(batch)


def lines(path: pathlib.Path, text: str) -> None:
    path.write_bytes(COMPRESS.get(path.suffix, bytes)(text.encode()))


def members(path: pathlib.Path) -> None:
    """Three files of lines in a tar or zip archive, in whatever it is packed."""
    inside = {f"folder/{i}.txt": "\n".join(TEXTS[i::3]).encode() for i in range(3)}
    data = test_archives.zipped(inside) if path.suffix == ".zip" else test_archives.tar(inside)
    path.write_bytes(COMPRESS.get(path.suffix, bytes)(data))


def damaged(path: pathlib.Path) -> None:
    """An archive, or another file that is read from its start, of which the second half is no such thing."""
    whole = path.with_name(path.name.removeprefix("broken."))
    WRITERS[whole.name][1](whole)
    data = whole.read_bytes()
    whole.unlink()
    path.write_bytes(data[: len(data) // 2] + b"\xff no such thing" * 400)


def write(path: pathlib.Path, data: bytes) -> None:
    path.write_bytes(data)


WRITERS: dict[str, tuple[str, Callable[[pathlib.Path], None]]] = {
    "a.jsonl": ("jsonl", lambda path: lines(path, "".join(json.dumps({"text": text}) + "\n" for text in TEXTS))),
    "a.txt": ("lines", lambda path: lines(path, "\n".join(TEXTS))),
    "blank.txt": ("paragraphs", lambda path: lines(path, "\n\n\n".join(TEXTS) + "\n\n")),
    "whole.txt": ("text", lambda path: lines(path, "\n".join(TEXTS))),
    "one_line.txt": ("lines", lambda path: lines(path, " ".join(TEXTS))),
    "empty.txt": ("lines", lambda path: lines(path, "")),
    "a.csv": ("csv", lambda path: lines(path, "text\n" + "\n".join(TEXTS))),
    **{f"a.txt{ending}": ("lines", lambda path: lines(path, "\n".join(TEXTS))) for ending in COMPRESS},
    "broken.txt.gz": ("lines", lambda path: write(path, COMPRESS[".gz"]("\n".join(TEXTS).encode())[:-300] + bytes(1000))),
    "a.tfrecord": ("tfrecord", lambda path: write(path, tfrecord.frame(b"no example") * 30 + b"no record" * 30)),
    "a.parquet": ("parquet", parquet),
    "broken.parquet": ("parquet", lambda path: write(path, b"PAR1" + bytes(1000))),
    **{name: ("lines", members) for name in ("a.tar", "a.tar.gz", "a.tar.zst", "a.zip")},
    "array.json": ("json", lambda path: lines(path, json.dumps([{"text": text} for text in TEXTS], indent=1))),
    "objects.json.xz": ("json", lambda path: lines(path, "\n\n".join(json.dumps({"text": text}, indent=1) for text in TEXTS))),
    "array.jsonl": ("jsonl", lambda path: lines(path, json.dumps([{"text": text} for text in TEXTS]))),
    "a.warc": ("warc", lambda path: write(path, test_archives.wet(PAGES))),
    "a.warc.gz": ("warc", lambda path: write(path, gzip.compress(test_archives.wet(PAGES)))),
    "wide.txt": ("lines", lambda path: write(path, "\n".join(TEXTS).encode("utf-16"))),
    "returns.txt": ("lines", lambda path: lines(path, "\r".join(TEXTS))),
    "broken.a.tar": ("lines", damaged),
    "broken.a.zip": ("lines", damaged),
    "broken.array.json": ("json", damaged),
    "broken.array.jsonl": ("jsonl", damaged),
    "broken.a.warc": ("warc", damaged),
    "broken.a.warc.gz": ("warc", damaged),
    "a.arrow": ("arrow", lambda path: arrow(path, pa.ipc.new_stream)),
    "a.feather": ("arrow", lambda path: arrow(path, pa.ipc.new_file)),
}
CUT = ("a.jsonl", "a.txt", "blank.txt", "one_line.txt", "returns.txt", "a.csv", "a.parquet", "a.arrow", "a.feather")  # into several blocks

ENCODINGS = {"wide.txt": "utf-16"}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("block_bytes", [1000, 7001, 1 << 24])
def test_the_extents_of_all_blocks_are_the_file(tmp_path: pathlib.Path, name: str, block_bytes: int) -> None:
    kind, make = WRITERS[name]
    make(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    source = SourceConfig(
        files=(str(tmp_path / name),),
        format=kind,
        embedded_newlines=kind not in ("csv", "tsv"),
        encoding=ENCODINGS.get(name, "utf-8"),  # type: ignore[arg-type]
    )
    blocks = list(list_blocks(source, 0, block_bytes))
    assert (len(blocks) > 1) == (block_bytes < 10_000 and name in CUT)
    parts = [part for block in blocks for part in read_documents(block, source, block_bytes)]
    extents = [extent for part in parts for file, extent in part.extents if part.files[file] == name]
    assert join(extents) == Extent(0, len(data), google_crc32c.value(data)) or (not data and join(extents) == Extent(0, 0, 0))
    assert {size for part in parts for file, (size, _) in zip(part.files, part.stored, strict=True) if file == name} == {len(data)}


@given(st.binary(min_size=1, max_size=200), st.lists(st.integers(0, 200)), st.randoms())
def test_extents_join_in_any_order(data: bytes, cuts: list[int], random: object) -> None:
    bounds = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    extents = [Extent(a, b - a, google_crc32c.value(data[a:b])) for a, b in itertools.pairwise(bounds)]
    random.shuffle(extents)  # type: ignore[attr-defined]
    assert join(extents + extents[:1]) == Extent(0, len(data), google_crc32c.value(data))
    first = extents[0]
    assert join([*extents, first._replace(crc32c=first.crc32c ^ 1)]) is None, "two blocks read other bytes in the same place"
    if len(extents) > 2:
        missing = sorted(extents)[1]
        assert join([extent for extent in extents if extent != missing]) is None


def test_bytes_are_measured_however_they_are_read() -> None:
    data = bytes(range(250))
    stream = MeasuredStream(io.BytesIO(data), len(data))
    stream.own([(20, 200), (0, 10)])
    for offset, size in ((5, 3), (20, 50), (0, 4), (40, 10), (70, 500), (4, 1), (100, 3)):
        stream.seek(offset)
        assert stream.read(size) == data[offset : offset + size]
    assert stream.extents() == [Extent(20, 180, google_crc32c.value(data[20:200])), Extent(0, 10, google_crc32c.value(data[:10]))]

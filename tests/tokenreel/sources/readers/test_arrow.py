from __future__ import annotations

import io
import pathlib
import random
import struct
import tempfile

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reading import read
from tests.tokenreel.sources.readers.test_parquet import TEXTS, table
from tokenreel.errors import SourceError
from tokenreel.sources.inputs import FileRange, InputFile
from tokenreel.sources.readers import arrow
from tokenreel.storage import files

END_MARK = b"\xff\xff\xff\xff\0\0\0\0"
WRITERS = {"stream": pa.ipc.new_stream, "file": pa.ipc.new_file}


def write(path: pathlib.Path, rows: pa.Table, batch: int, kind: str = "stream", **options: object) -> None:
    with WRITERS[kind](path, rows.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(rows, max_chunksize=batch)


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.sampled_from([*TEXTS, None]), max_size=60),
    batch=st.integers(1, 20),
    block_bytes=st.integers(1, 9000),
    column=st.sampled_from([pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.binary(), pa.string_view()]),
    kind=st.sampled_from(["stream", "file"]),
    compression=st.sampled_from([None, "zstd"]),
)
def test_any_split_gives_the_same_documents(
    texts: list[str | None], batch: int, block_bytes: int, column: pa.DataType, kind: str, compression: str | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "a.arrow"
        write(path, table(texts, column), batch, kind, compression=compression)
        found = read(path, "arrow", block_bytes, id_field="id", order_field="number", metadata_fields=("number", "meta.url"))
        rows = {("a.arrow", i): text for i, text in enumerate(texts) if text is not None}
        assert found.texts == rows
        assert list(found.ids.values()) == [f"row-{i}" for _, i in rows]
        assert list(found.metadata.values()) == [{"number": i, "meta.url": f"http://{i}" if i % 3 else None} for _, i in rows]
        missing = [(fault.position, fault.line, fault.reason) for fault in found.faults]
        assert missing == [(i, i + 1, "no_text") for i, text in enumerate(texts) if text is None]


@pytest.mark.parametrize("kind", WRITERS)
def test_record_batches_are_split(tmp_path: pathlib.Path, kind: str) -> None:
    texts = [str(i) * 500 for i in range(400)]
    write(tmp_path / "a.arrow", pa.table({"text": texts}), 10, kind)
    found = read(tmp_path, "arrow", 50_000)
    assert found.blocks > 8
    assert found.values == texts
    write(tmp_path / "a.arrow", pa.table({"text": texts}), 400, kind)
    found = read(tmp_path, "arrow", 50_000)
    assert (found.blocks, found.values) == (1, texts)
    assert found.parts > 5, "a large batch is read in parts"


def test_a_damaged_schema_is_one_fault_wherever_blocks_end(tmp_path: pathlib.Path) -> None:
    """Each range of such a file was a fault of its own."""
    path = tmp_path / "a.arrow"
    write(path, pa.table({"text": [str(i) * 500 for i in range(400)]}), 10)
    data = bytearray(path.read_bytes())
    data[12:40] = bytes(28)
    path.write_bytes(data)
    faults = [read(path, "arrow", block_bytes).faults for block_bytes in (1 << 30, 50_000)]
    assert len(faults[0]) == 1 and faults[0] == faults[1]


@pytest.mark.parametrize("kind", WRITERS)
def test_any_truncation_keeps_what_came_before(tmp_path: pathlib.Path, kind: str) -> None:
    texts = [f"text {i}" for i in range(100)]
    path = tmp_path / "a.arrow"
    write(path, pa.table({"text": texts}), 10, kind)
    data = path.read_bytes()
    mark = data.rindex(END_MARK)
    ends = [at for at in range(1, mark + 1) if data[at : at + 4] == b"\xff\xff\xff\xff"]  # of the schema and of batches
    for cut in [*range(0, mark, 61), *ends, len(data) - 1]:
        path.write_bytes(data[:cut])
        for block_bytes in (300, 1 << 20):
            found = read(tmp_path, "arrow", block_bytes)
            assert found.values == texts[: len(found.values)]
            if kind == "stream" and cut in ends:
                assert not found.faults, "a stream may end without a mark"
            else:
                assert found.reasons == ["broken_file"]
                assert found.faults[0].position == len(found.values)
    assert len(found.values) == 100


@pytest.mark.parametrize("block_bytes", [300, 1 << 20])
@pytest.mark.parametrize("kind", WRITERS)
def test_what_follows_the_end_is_a_fault(tmp_path: pathlib.Path, kind: str, block_bytes: int) -> None:
    texts = [f"text {i}" for i in range(100)]
    path = tmp_path / "a.arrow"
    write(path, pa.table({"text": texts}), 10, kind)
    whole = path.read_bytes()
    path.write_bytes(whole + whole)  # cat a.arrow b.arrow
    found = read(path, "arrow", block_bytes)
    assert (found.values, found.reasons) == (texts, ["broken_file"])
    assert "bytes follow the end mark" in found.faults[0].message
    batch = [at for at in range(len(whole)) if whole[at : at + 4] == b"\xff\xff\xff\xff"][4]  # the fourth
    for mark in (bytes(4), END_MARK):
        path.write_bytes(whole[:batch] + mark + whole[batch + len(mark) :])
        found = read(path, "arrow", block_bytes)
        assert (found.values, found.reasons) == (texts[:30], ["broken_file"])
        assert found.faults[0].position == 30


@pytest.mark.parametrize("column", [pa.string(), pa.dictionary(pa.int32(), pa.string())])
@pytest.mark.parametrize("kind", WRITERS)
def test_a_damaged_batch_costs_no_other_wherever_blocks_end(tmp_path: pathlib.Path, kind: str, column: pa.DataType) -> None:
    texts = [f"text {i}" for i in range(200)]
    path = tmp_path / "a.arrow"
    rows = pa.table({"text": pa.array(texts).cast(column)})
    write(path, rows, 20, kind)
    whole = path.read_bytes()
    with files.open_read(str(path)) as stream:
        found = [message for message in arrow._messages(stream, FileRange(InputFile(str(path), "a.arrow", len(whole), 0)))]
    batch = [message for message in found if message.kind == arrow._BATCH][4]
    seen = set()
    for at in range(batch.start + 8, batch.end, 5):
        altered = bytearray(whole)
        altered[at] ^= 0x40
        path.write_bytes(altered)
        results = [read(path, "arrow", block_bytes) for block_bytes in (600, 1 << 20)]
        assert results[0].texts == results[1].texts
        lost = 200 - len(results[0].texts)
        assert lost <= 20 or "cannot be read" in results[0].faults[0].message
        seen.add(lost)
    assert {0, 20} <= seen


def test_indices_that_point_nowhere_are_a_fault(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.arrow"
    values = pa.array(["a", "b"])
    for indices in ([0, 1 << 30], [0, -1]):
        broken = pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), values, safe=False)
        sound = pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int32()), values)
        with pa.ipc.new_stream(path, pa.schema({"text": broken.type})) as writer:
            writer.write_batch(pa.record_batch({"text": broken}))
            writer.write_batch(pa.record_batch({"text": sound}))
        found = read(path, "arrow")
        assert (found.values, found.reasons) == (["b", "a"], ["broken_file"])
        assert "rows 0 to 1 cannot be read" in found.faults[0].message


def late_dictionaries(data: bytes) -> bytes:
    """Moves the dictionary of a file with one behind its batches, and tells the footer."""
    with io.BytesIO(data) as stream:
        start, footer = arrow._footer(stream, len(data))
        messages = [arrow._message(stream, place, start) for place in arrow._indexed(stream, start, footer)]
    found = [message for message in messages if message.kind == arrow._DICTIONARY]
    if not found:
        return data
    (dictionary,) = found
    size = dictionary.end - dictionary.start
    last = max(message.end for message in messages)
    moved = data[: dictionary.start] + data[dictionary.end : last] + data[dictionary.start : dictionary.end] + data[last:start]
    altered = bytearray(footer)
    for message in messages:
        place = last - size if message is dictionary else message.start - size
        at = footer.index(arrow._BLOCK.pack(message.start, len(message.head), message.end - message.start - len(message.head)))
        altered[at : at + 8] = struct.pack("<q", place)
    return moved + bytes(altered) + data[start + len(footer) :]


def test_a_file_whose_schema_only_its_footer_has(tmp_path: pathlib.Path) -> None:
    """As Polars writes them: the description of the schema stands behind the magic word without a prefix."""
    texts = [f"text {i}" for i in range(100)]
    path = tmp_path / "a.arrow"
    for column in (pa.string(), pa.dictionary(pa.int32(), pa.string())):
        write(path, pa.table({"text": pa.array(texts).cast(column), "id": texts}), 10, "file")
        data = path.read_bytes()
        path.write_bytes(late_dictionaries(data[:8] + bytes.fromhex("04000000f2ffffff") + data[16:]))
        for block_bytes in (300, 1 << 20):
            found = read(path, "arrow", block_bytes, id_field="id")
            assert (found.values, found.faults) == (texts, [])
        assert found.blocks == 1
        path.write_bytes(path.read_bytes()[:-1])
        assert read(path, "arrow").reasons == ["broken_file"]


def test_altered_files_crash_nothing(tmp_path: pathlib.Path) -> None:
    texts = [f"text {i} {random.Random(i).random()}" for i in range(200)]
    path = tmp_path / "a.arrow"
    rng = random.Random(3)
    rows = pa.table({"text": texts, "id": [f"row {i}" for i in range(200)], "list": [[i] * (i % 3) for i in range(200)]})
    reasons = set()
    for compression in (None, "zstd"):
        write(path, rows, 20, compression=compression)
        data = path.read_bytes()
        for _ in range(150):
            altered = bytearray(data)
            for _ in range(rng.choice([1, 1, 5])):
                altered[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            path.write_bytes(altered)
            try:
                found = read(path, "arrow", rng.choice([1000, 1 << 20]), id_field="id", metadata_fields=("list",))
            except SourceError as error:  # the name of a column was hit
                assert "column" in str(error)
                continue
            reasons |= set(found.reasons)
            assert len(found.texts) == 200 or found.faults
    assert {"broken_file", "invalid_utf8"} <= reasons <= {"broken_file", "invalid_utf8", "no_text", "no_id"}
    path.write_bytes(b"no arrow at all")
    assert read(path, "arrow").reasons == ["broken_file"]


def test_folders_of_hugging_face_datasets(tmp_path: pathlib.Path) -> None:
    """Written by `datasets` itself; see below for the same layout without it."""
    import datasets

    texts = [f"Text {i} of some" * (i % 7) for i in range(500)]
    whole = datasets.Dataset.from_dict({"text": texts, "n": list(range(500))})
    whole.save_to_disk(tmp_path / "saved", num_shards=3)
    whole.map(lambda row: {"text": row["text"].upper()}, cache_file_name=str(tmp_path / "saved" / "cache-123.arrow"))
    found = read(tmp_path / "saved", "arrow", 3000, metadata_fields=("n",))
    assert found.values == texts
    assert [fields["n"] for fields in found.metadata.values()] == list(range(500))
    assert {file for file, _ in found.texts} == {f"data-0000{i}-of-00003.arrow" for i in range(3)}
    assert read(tmp_path / "saved" / "*.arrow", "arrow").faults == []
    datasets.DatasetDict({"train": whole, "test": whole.select(range(5)).flatten_indices()}).save_to_disk(tmp_path / "dict")
    assert read(tmp_path / "dict", "arrow", split="test").values == texts[:5]
    assert read(tmp_path / "dict" / "train", "arrow").values == texts
    with pytest.raises(SourceError, match=r"holds the splits \['train', 'test'\] .* Set sources.split to one of them"):
        read(tmp_path / "dict", "arrow")
    whole.to_parquet(tmp_path / "exported.parquet")
    assert read(tmp_path / "exported.parquet", "parquet", 3000).values == texts
    cached = datasets.load_dataset("parquet", data_files=str(tmp_path / "exported.parquet"), cache_dir=str(tmp_path / "cache"))
    (file,) = cached["train"].cache_files
    assert read(pathlib.Path(file["filename"]).parent, "arrow").values == texts


def test_a_folder_is_read_by_its_index(tmp_path: pathlib.Path) -> None:
    write(tmp_path / "data.arrow", pa.table({"text": ["a", "b"]}), 1)
    write(tmp_path / "other.arrow", pa.table({"text": ["c"]}), 1)
    assert read(tmp_path, "arrow").values == ["a", "b", "c"]
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "data.arrow"}], "_split": "train"}')
    assert read(tmp_path, "arrow").values == ["a", "b"]
    assert read(tmp_path, "arrow", split="train").values == ["a", "b"]
    with pytest.raises(SourceError, match="holds the split 'train', not 'test'"):
        read(tmp_path, "arrow", split="test")
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "../secret.arrow"}]}')
    with pytest.raises(SourceError, match="names a file outside of the folder"):
        read(tmp_path, "arrow")
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(SourceError, match=r"no state\.json that names its files"):
        read(tmp_path, "arrow")

import gzip
import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.tokenreel.tasks.test_example_stream import check_states
from tokenreel.errors import ConfigError, SourceError
from tokenreel.format import example_codec
from tokenreel.tasks import data_sources
from tokenreel.tasks.example_stream import ExampleStream
from tokenreel.tasks.providers import ShardInfo


@pytest.fixture
def lines(tmp_path):
    """Three files of 4, 1 and 3 lines, named so that their order is not that of the directory."""
    for name, count in (("b", 1), ("c", 3), ("a", 4)):
        (tmp_path / f"{name}.txt").write_bytes(b"".join(b"%s%d\n" % (name.encode(), number) for number in range(count)))
    return data_sources.TextLineDataSource({"train": str(tmp_path / "*.txt"), "one": [str(tmp_path / "b.txt")]}, block_length=2)


def test_lines_are_read_in_turns(lines):
    assert list(lines.get_dataset("train", shuffle=False)) == [b"a0", b"a1", b"b0", b"c0", b"c1", b"a2", b"a3", b"c2"]
    assert list(lines.get_dataset("one", shuffle=False)) == [b"b0"]
    assert [path[-5:] for path in lines.list_shards("train")] == ["a.txt", "b.txt", "c.txt"]
    assert tuple(lines.splits) == ("train", "one") and not lines.supports_arbitrary_sharding and lines.caching_permitted
    assert lines.num_input_examples("train") is None and lines.file_format == "lines"
    check_states(lines.get_dataset("train", shuffle=False), 8)


def test_a_long_lived_process_sees_files_that_were_made_anew(tmp_path, lines):
    """SeqIO keeps what it found of a pattern, and small data sets, for the life of the process."""
    before = list(lines.get_dataset("train", shuffle=False))
    (tmp_path / "a.txt").write_bytes(b"a7\n")
    (tmp_path / "c.txt").unlink()
    (tmp_path / "d.txt").write_bytes(b"d9\n")
    assert list(lines.get_dataset("train", shuffle=False)) == [b"a7", b"b0", b"d9"] != before
    assert [path[-5:] for path in lines.list_shards("train")] == ["a.txt", "b.txt", "d.txt"]


def test_lines_end_in_many_ways(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"head\r\na\r\n\nb\xc3\xa9")
    (tmp_path / "y.txt").write_bytes(gzip.compress(b"head\nc\n" + b"d" * 3_000_000 + b"\n"))
    source = data_sources.TextLineDataSource({"train": str(tmp_path / "?.txt")}, skip_header_lines=1, num_input_examples={"train": 5})
    assert list(source.get_dataset("train", shuffle=False)) == [b"a", b"", "bé".encode(), b"c", b"d" * 3_000_000]
    assert source.num_input_examples("train") == 5


def test_shards_are_files_and_shuffles_are_of_files(lines):
    shards = [list(lines.get_dataset("train", shuffle=False, shard_info=ShardInfo(index, 2))) for index in (0, 1)]
    assert [len(shard) for shard in shards] == [7, 1]
    with pytest.raises(ValueError, match=r"Dataset has too few files to shard. 3 files vs 4 shards requested."):
        lines.get_dataset("train", shard_info=ShardInfo(0, 4))
    orders = {tuple(lines.get_dataset("train", shuffle=True, seed=seed)) for seed in range(8)}
    assert len(orders) > 2 and len({frozenset(order) for order in orders}) == 1
    epochs = list(lines.get_dataset("train", shuffle=True, seed=0).epochs(6))
    assert len({tuple(epochs[start : start + 8]) for start in range(0, 48, 8)}) > 1, "an epoch has an order of its own"
    assert list(lines.get_dataset("train", shuffle=True)) == list(lines.get_dataset("train", shuffle=True, seed=0))
    check_states(lines.get_dataset("train", shuffle=True, seed=1).epochs(2), 16)


def test_keys_belong_to_examples(lines):
    def keys(dataset):
        return {element.value: element.key for element in dataset.keyed()}

    of_all = keys(lines.get_dataset("train", shuffle=False))
    assert keys(lines.get_dataset("train", shuffle=True, seed=4)) == of_all
    assert keys(lines.get_dataset("train", shuffle=False, shard_info=ShardInfo(1, 2))).items() <= of_all.items()


def test_no_file_is_an_error_and_new_files_are_seen(tmp_path):
    source = data_sources.TextLineDataSource({"train": str(tmp_path / "*.txt")})
    with pytest.raises(ValueError, match="No file is found for the file pattern"):
        source.get_dataset("train")
    (tmp_path / "late.txt").write_text("here\n")
    assert list(source.get_dataset("train")) == [b"here"]


def test_json_lines(tmp_path):
    rows = [{"text": "é", "n": 3, "x": 0.5, "many": ["a", "b"], "none": None, "ids": [1, 2], "yes": True}, {"text": "b", "empty": []}]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    first, second = data_sources.JsonLinesDataSource({"train": str(path)}).get_dataset("train")
    assert first["text"] == "é".encode() and first["many"].tolist() == [b"a", b"b"] and "none" not in first
    assert (first["n"].dtype, first["x"].dtype, first["ids"].dtype, first["yes"].dtype) == (np.int64, np.float32, np.int64, np.bool_)
    assert second["empty"].shape == (0,)
    chosen = data_sources.JsonLinesDataSource({"train": str(path)}, fields=["text"])
    assert list(chosen.get_dataset("train")) == [{"text": "é".encode()}, {"text": b"b"}] and chosen.file_format == "json_lines"


@pytest.mark.parametrize(
    ("line", "message"),
    [("{", "line 2: no JSON object"), ("[1]", "line 2: no JSON object"), ('{"a": {"b": 1}}', "line 2: .* is no value of an example")],
)
def test_json_lines_that_are_none(tmp_path, line, message):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n' + line + "\n")
    with pytest.raises(SourceError, match=message):
        list(data_sources.JsonLinesDataSource({"train": str(path)}).get_dataset("train"))


def test_parquet(tmp_path):
    path = str(tmp_path / "rows.parquet")
    table = pa.table(
        {
            "text": ["é", None],
            "n": pa.array([1, 2], pa.int32()),
            "x": pa.array([0.5, None], pa.float64()),
            "ids": pa.array([[1, 2], []], pa.list_(pa.int16())),
            "words": [["a"], ["b", "c"]],
        }
    )
    pq.write_table(table, path)
    source = data_sources.ParquetDataSource({"train": path})
    first, second = source.get_dataset("train")
    assert first["text"] == "é".encode() and "text" not in second and "x" not in second
    assert (first["n"].dtype, first["x"].dtype, first["ids"].dtype, second["ids"].dtype) == (np.int32, np.float64, np.int16, np.int16)
    assert first["ids"].tolist() == [1, 2] and second["ids"].shape == (0,) and second["words"].tolist() == [b"b", b"c"]
    assert source.num_input_examples("train") == 2
    assert list(data_sources.ParquetDataSource({"train": path}, fields=["n"]).get_dataset("train")) == [{"n": 1}, {"n": 2}]
    with pytest.raises(SourceError, match="has no column 'm'; its columns are text, n, x, ids, words"):
        list(data_sources.ParquetDataSource({"train": path}, fields=["m"]).get_dataset("train"))
    (tmp_path / "bad.parquet").write_bytes(b"no")
    with pytest.raises(SourceError, match="cannot be read as Parquet"):
        list(data_sources.ParquetDataSource({"train": str(tmp_path / "bad.parquet")}).get_dataset("train"))


def test_records_of_examples_without_tensorflow(tmp_path):
    path = tmp_path / "rows.tfrecord"
    path.write_bytes(b"".join(example_codec.encode_lists({"ids": [[1, 2], [3]], "n": [5, 6], "x": [[0.5, 1.5], [2.5, 3.5]]})))
    description = {"ids": ((None,), "int64"), "n": ((), "int64"), "x": ((2, 1), "float32")}
    source = data_sources.TFExampleDataSource({"train": str(path)}, description)
    first, second = source.get_dataset("train")
    assert first["ids"].tolist() == [1, 2] and second["ids"].tolist() == [3] and first["n"] == 5 and first["n"].shape == ()
    assert second["x"].tolist() == [[2.5], [3.5]] and second["x"].dtype == np.float32 and source.file_format == "tfrecord"
    for wrong, message in (
        ({"m": ((), "int64")}, "Feature: m"),
        ({"n": ((), "float32")}, "was expected"),
        ({"ids": ((3,), "int64")}, "reshape"),
    ):
        with pytest.raises(SourceError, match=message):
            list(data_sources.TFExampleDataSource({"train": str(path)}, wrong).get_dataset("train"))
    path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(SourceError, match="record at byte"):
        list(source.get_dataset("train"))
    with pytest.raises(ConfigError, match="feature_description is empty"):
        data_sources.TFExampleDataSource({"train": str(path)}, {})


def make_examples(split, shuffle_files):
    return [{"n": 1}, {"n": 2}]


def test_functions():
    source = data_sources.FunctionDataSource(make_examples, ["train"], num_input_examples={"train": 2})
    assert [int(example["n"]) for example in source.get_dataset("train", seed=5)] == [1, 2]
    assert source.list_shards("train") == ["train"] and source.num_input_examples("train") == 2
    stream = ExampleStream.from_examples([{"n": 3}])
    seeded = data_sources.FunctionDataSource(lambda split, shuffle_files, seed=None: stream.repeat(seed or 1), ["train"])
    assert len(list(seeded.get_dataset("train", seed=3))) == 3 and len(list(seeded.get_dataset("train"))) == 1
    with pytest.raises(ValueError, match="does not support low-level sharding"):
        source.get_dataset("train", shard_info=ShardInfo(0, 2))
    with pytest.raises(ValueError, match="must have initial args"):
        data_sources.FunctionDataSource(lambda split: None, ["train"])
    with pytest.raises(ValueError, match="may only have positional args"):
        data_sources.FunctionDataSource(lambda split, shuffle_files, more: None, ["train"])


def test_sources_pickle(lines, tmp_path):
    for source in (lines, data_sources.FunctionDataSource(make_examples, ["train"]), data_sources.JsonLinesDataSource({"train": "x"})):
        assert pickle.loads(pickle.dumps(source)).splits == source.splits
    assert list(pickle.loads(pickle.dumps(lines)).get_dataset("train")) == list(lines.get_dataset("train"))


@pytest.mark.tensorflow
def test_functions_of_tensorflow_read_files_too(tmp_path):
    import tensorflow as tf

    path = tmp_path / "rows.tfrecord"
    path.write_bytes(b"".join(example_codec.encode_lists({"ids": [[1, 2], [3]], "n": [5, 6]})))
    fixed = {"n": tf.io.FixedLenFeature([], tf.int64), "m": tf.io.FixedLenFeature([1], tf.int64, default_value=[9])}
    sequence = {"ids": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True)}
    ours = data_sources.TFExampleDataSource({"train": str(path)}, {**fixed, **sequence})
    assert ours.file_format == "tfrecord"
    theirs = data_sources.TFExampleDataSource({"train": str(path)}, {**fixed, **sequence}, reader_cls=tf.data.TFRecordDataset)
    assert theirs.file_format is None
    for own, other in zip(ours.get_dataset("train"), theirs.get_dataset("train").as_numpy_iterator(), strict=True):
        assert own.keys() == other.keys() and all(np.array_equal(own[name], other[name]) for name in own)
    ragged = data_sources.TFExampleDataSource({"train": str(path)}, {"ids": tf.io.RaggedFeature(tf.int64)})
    assert [example["ids"].tolist() for example in ragged.get_dataset("train").as_numpy_iterator()] == [[1, 2], [3]]
    own_reader = data_sources.FileDataSource(tf.data.TFRecordDataset, {"train": str(path)})
    assert len(list(own_reader.get_dataset("train", shuffle=True, seed=1))) == 2
    decoded = data_sources.ProtoDataSource({"train": str(path)}, lambda record: {"bytes": tf.strings.length(record)})
    assert len(list(decoded.get_dataset("train"))) == 2

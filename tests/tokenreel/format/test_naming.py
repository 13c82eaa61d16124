import pytest

from tokenreel.format import naming
from tokenreel.storage import files


@pytest.mark.parametrize(("split", "index", "count"), [("train", 0, 1), ("validation_2", 99_999, 100_000), ("a", 123_456, 1_000_000)])
def test_shards_are_recognised(split, index, count):
    name = naming.shard(split, index, count)
    assert naming.is_shard(name) and naming.place_of_shard(name) == naming.Place(split, index, count)
    assert not naming.is_shard(f"{name}.tmp-0123abcd")
    assert files.TEMPORARY.search(f"{name}.tmp-0123abcd")
    assert not files.TEMPORARY.search(name)


@pytest.mark.parametrize(
    "name", ["train.tfrecord", "train.tfrecord-1-of-2", "a/train.tfrecord-00000-of-00001", "manifest.json", "x-y.tfrecord-00000-of-00001"]
)
def test_other_files_are_no_shards(name):
    assert not naming.is_shard(name) and naming.place_of_shard(name) is None


def test_names_sort_as_the_shards_lie():
    names = [naming.shard("train", index, 2000) for index in range(2000)]
    assert names == sorted(names)


def test_the_files_of_a_dataset_have_different_names():
    names = [
        naming.MANIFEST,
        naming.STATISTICS,
        naming.REPORT,
        naming.DEAD_LETTERS,
        naming.shard("train", 0, 1),
        naming.provenance("train", 0, 1),
    ]
    names += [naming.vocabulary("sentencepiece"), naming.vocabulary("huggingface"), naming.vocabulary("tiktoken")]
    assert len(set(names)) == len(names)
    assert names[4:] == [
        "train.tfrecord-00000-of-00001",
        "provenance/train-00000-of-00001.parquet",
        "vocabulary.model",
        "vocabulary.json",
        "vocabulary.tiktoken",
    ]

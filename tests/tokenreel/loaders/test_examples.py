import dataclasses
import sys

import numpy as np
import pytest

from tests.datasets import random_examples, write_dataset
from tests.tokenreel.loaders.conftest import COUNT, LENGTH
from tokenreel.errors import ConfigError, VocabularyError
from tokenreel.format import schema
from tokenreel.format.manifest import file_info
from tokenreel.loaders import load


@pytest.mark.parametrize("backend", ["mmap", "pread"])
@pytest.mark.parametrize("crc", ["off", "first", "always"])
def test_every_example_is_what_was_written(arrays, directory, backend, crc):
    dataset = load(directory, backend=backend, crc=crc)
    assert len(dataset) == COUNT and dataset.features == ("document_starts", "example_id", "tokens")
    for numbers in (
        np.arange(COUNT),
        np.random.default_rng(0).permutation(COUNT),
        np.array([3, 3, 149, 0]),
        np.arange(20, 30),
        np.array([], int),
    ):
        batch = dataset.take(numbers)
        assert np.array_equal(batch["tokens"], arrays["tokens"][numbers]) and batch["tokens"].dtype == np.int32
        assert np.array_equal(batch["document_starts"], arrays["document_starts"][numbers]) and batch["document_starts"].dtype == bool
        assert np.array_equal(batch["example_id"], numbers) and batch["example_id"].dtype == np.int64
        assert all(values.flags.writeable for values in batch.values())
    one = dataset[-1]
    assert one["tokens"].shape == (LENGTH,) and np.array_equal(one["tokens"], arrays["tokens"][-1]) and one["example_id"] == COUNT - 1
    several = dataset.__getitems__([5, 2])
    assert [int(row["example_id"]) for row in several] == [5, 2] and np.array_equal(several[1]["tokens"], arrays["tokens"][2])
    assert list(dataset.take([1], ["tokens"])) == ["tokens"]


def test_wide_vocabularies_floats_and_padding(tmp_path):
    arrays = random_examples(10, 8, vocab_size=100_000, padded=True)
    arrays["scores"] = np.linspace(0, 1, 30, dtype=np.float32).reshape(10, 3)
    write_dataset(
        tmp_path / "d", {"train": arrays}, vocab_size=100_000, extra={"scores": schema.Feature(name="scores", dtype="float32", shape=(3,))}
    )
    batch = load(tmp_path / "d").take([7, 1, 3])
    for name in arrays:
        assert np.array_equal(batch[name], arrays[name][[7, 1, 3]])
    assert batch["num_tokens"].dtype == np.int32 and batch["scores"].dtype == np.float32


def test_numbers_outside_are_refused(directory):
    dataset = load(directory)
    for wrong in (COUNT, -COUNT - 1):
        with pytest.raises(IndexError, match="examples 0 to 149"):
            dataset[wrong]
    assert sum(1 for _ in dataset) == COUNT  # the sequence protocol ends
    with pytest.raises(ConfigError, match="no feature 'labels'"):
        dataset.take([0], ["labels"])


def test_a_slice_takes_several_examples(tmp_path):
    """It was a TypeError out of NumPy, and a list of numbers gave the first of them alone."""
    write_dataset(tmp_path / "dataset", {"train": random_examples(20, 8)})
    dataset = load(tmp_path / "dataset")
    for part in (slice(0, 3), slice(-2, None), slice(None, None, 7), slice(5, 2), slice(18, 99)):
        numbers = list(range(20))[part]
        found, wanted = dataset[part], dataset.take(numbers)
        assert found.keys() == wanted.keys() and all((found[name] == wanted[name]).all() for name in wanted)
        assert len(found["tokens"]) == len(numbers)
    assert dataset[np.int64(3)]["example_id"] == 3
    for wrong in ([1, 2], 1.5, "1", None):
        with pytest.raises(TypeError, match=r"take several with dataset\[2:5\] or dataset.take"):
            dataset[wrong]


def test_a_vocabulary_says_which_package_it_needs(tmp_path, monkeypatch):
    manifest = write_dataset(tmp_path / "dataset", {"train": random_examples(20, 8)})
    vocabulary = dataclasses.replace(manifest.vocabulary, kind="sentencepiece", file="vocabulary.model")
    (tmp_path / "dataset/vocabulary.model").write_bytes(b"a model")
    listed = (*manifest.files, file_info(str(tmp_path / "dataset"), "vocabulary.model"))
    (tmp_path / "dataset/manifest.json").write_text(dataclasses.replace(manifest, vocabulary=vocabulary, files=listed).to_text())
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(VocabularyError, match="its vocabulary, sentencepiece, needs a package: pip install sentencepiece"):
        load(tmp_path / "dataset").vocabulary()

import dataclasses
import json
import os
import pathlib
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.datasets import PAD, random_examples, write_dataset
from tokenreel.errors import ConfigError, ManifestError
from tokenreel.format import manifest as manifests
from tokenreel.format import naming, schema
from tokenreel.format.manifest import INT64_LIST
from tokenreel.loaders import load
from tokenreel.loaders.records import MappedRecords, local_files

COUNT, LENGTH, PER_SHARD = 150, 24, 16


@pytest.fixture(scope="module")
def arrays():
    return random_examples(COUNT, LENGTH)


@pytest.fixture(scope="module")
def directory(arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("dataset") / "d"
    write_dataset(path, {"train": arrays, "validation": random_examples(20, LENGTH, seed=5)}, per_shard=PER_SHARD)
    return path


@pytest.fixture
def copy(directory, tmp_path):
    return pathlib.Path(shutil.copytree(directory, tmp_path / "copy"))


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


def test_it_pickles_without_its_maps(arrays, directory):
    for backend in ("mmap", "pread"):
        dataset = load(directory, backend=backend, crc="first")
        dataset[0]
        again = pickle.loads(pickle.dumps(dataset))
        assert np.array_equal(again[140]["tokens"], arrays["tokens"][140])


def test_few_open_files_suffice(arrays, directory, monkeypatch):
    monkeypatch.setattr(local_files, "open_limit", lambda: 2)
    order = np.random.default_rng(0).permutation(COUNT)
    for backend in ("mmap", "pread"):
        dataset = load(directory, backend=backend)
        before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        assert np.array_equal(dataset.take(order)["tokens"], arrays["tokens"][order])
        assert not before or len(os.listdir("/proc/self/fd")) <= before + 2
        del dataset


def test_no_random_access_to_varying_lengths(tmp_path):
    write_dataset(tmp_path / "d", {"train": random_examples(5, 8)}, record_format=INT64_LIST)
    with pytest.raises(ManifestError, match=r"no random access.*tf.data"):
        load(tmp_path / "d")


def shards(directory):
    return sorted(directory.glob("train.tfrecord-*"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: shards(d)[3].unlink(), "00003-of-00010: missing"),
        (lambda d: os.truncate(shards(d)[2], shards(d)[2].stat().st_size // 2), r"00002-of-00010: .* bytes \(8.00 records\).*16 records"),
        (lambda d: os.truncate(shards(d)[2], shards(d)[2].stat().st_size - 1), "00002-of-00010: .* bytes"),
        (lambda d: shards(d)[9].write_bytes(shards(d)[0].read_bytes()), "00009-of-00010: .* bytes"),
        (lambda d: shutil.copy(shards(d)[0], d / naming.shard("train", 10, 11)), "00010-of-00011: a shard that the manifest does not list"),
        (lambda d: (d / "manifest.json").unlink(), "no manifest.json"),
        (lambda d: (d / "manifest.json").write_bytes((d / "manifest.json").read_bytes().replace(b'"seed": 0', b'"seed": 1')), "altered"),
    ],
)
def test_an_incomplete_or_altered_directory_is_refused(copy, damage, message):
    load(copy)
    damage(copy)
    with pytest.raises(ManifestError, match=message):
        load(copy)


def test_exchanged_shards_are_noticed_when_they_are_read(copy):
    a, b = shards(copy)[1], shards(copy)[4]
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second), b.write_bytes(first)
    for backend in ("mmap", "pread"):
        dataset = load(copy, backend=backend)
        dataset[0]
        with pytest.raises(ManifestError, match="00001-of-00010: record 0 at byte 0: it holds example 64, expected 16"):
            dataset[16]


def test_shards_that_vanish_or_shrink_after_opening(copy):
    dataset = load(copy, backend="pread")
    shards(copy)[1].unlink()
    with pytest.raises(ManifestError, match="00001-of-00010: the shard vanished"):
        dataset[20]
    os.truncate(shards(copy)[5], 100)
    with pytest.raises(ManifestError, match="100 bytes"):
        load_ignoring_sizes(copy)[100]


def load_ignoring_sizes(directory):
    manifest = manifests.read(str(directory))
    info = manifest.splits["train"].shards
    from tokenreel.loaders.dataset import Dataset

    return Dataset(str(directory), manifest, "train", MappedRecords(str(directory), info, manifest.fixed_format))


def test_versions_and_fingerprints(copy):
    fingerprint = load(copy).manifest.fingerprint
    load(copy, fingerprint=fingerprint)
    with pytest.raises(ManifestError, match=f"fingerprint {fingerprint}, expected abc: this is another dataset"):
        load(copy, fingerprint="abc")
    body = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(body | {"format_version": 99}))
    with pytest.raises(ManifestError, match="format version 99"):
        load(copy)


def test_options_are_checked(directory):
    for options, message in (
        ({"split": "test"}, "no split 'test'; there are train, validation"),
        ({"crc": "sometimes"}, "crc must be"),
        ({"backend": "telepathy"}, "backend must be"),
        ({"verify": "maybe"}, "verify must be"),
    ):
        with pytest.raises(ConfigError, match=message):
            load(directory, **options)


def test_a_manifest_that_contradicts_itself_is_refused(copy):
    manifest = manifests.read(str(copy))
    info = manifest.splits["train"]
    for change, message in (
        ({"records": 15}, "contradicts itself"),
        ({"file": info.shards[1].file}, "contradicts itself"),
        (
            {"records": 15, "bytes": 15 * manifest.fixed_format.record_bytes},
            "all but the last need 15|15 records; all but the last need 16",
        ),
    ):
        for index in (0, 4):
            changed = list(info.shards)
            changed[index] = dataclasses.replace(changed[index], **change)
            splits = dict(manifest.splits) | {"train": manifests.SplitInfo(shards=tuple(changed))}
            (copy / "manifest.json").write_text(dataclasses.replace(manifest, splits=splits).to_text())
            if changed[index] != info.shards[index] and change.get("file") != info.shards[index].file:
                with pytest.raises(ManifestError, match=message):
                    load(copy)


def test_derived_fields(tmp_path):
    for overlap, padded in ((0, False), (1, False), (0, True), (1, True)):
        path = tmp_path / f"{overlap}{padded}"
        arrays = random_examples(30, 12, overlap=overlap, padded=padded)
        write_dataset(path, {"train": arrays}, overlap=overlap)
        batch = load(path).take(np.arange(30), ["inputs", "targets", "loss_weights", "segment_ids", "positions", "example_id"])
        across = load(path).take(np.arange(30), ["targets", "loss_weights"], across_documents=True)["loss_weights"]
        stored = load(path).take(np.arange(30), ["segment_ids", "positions"])
        for row in range(30):
            tokens, starts = arrays["tokens"][row], arrays["document_starts"][row]
            number = int(arrays["num_tokens"][row]) if padded else len(tokens)
            segment, position = 1, 0
            for i in range(len(tokens)):
                if i and starts[i]:
                    segment, position = segment + 1, 0
                expected = (segment, position) if i < number else (0, 0)
                assert (stored["segment_ids"][row, i], stored["positions"][row, i]) == expected
                if i < 12:
                    assert (batch["segment_ids"][row, i], batch["positions"][row, i]) == expected
                    assert batch["inputs"][row, i] == tokens[i]
                    follows = i + 1 < len(tokens)
                    assert batch["targets"][row, i] == (tokens[i + 1] if follows else PAD)
                    real = i + 1 < number
                    assert batch["loss_weights"][row, i] == (real and not starts[i + 1])
                    assert across[row, i] == real
                position += 1
        assert batch["inputs"].shape == (30, 12) and stored["segment_ids"].shape == (30, 12 + overlap)


def test_the_first_and_only_the_first_reading_checks(copy):
    with open(shards(copy)[1], "r+b") as file:
        fixed_format = manifests.read(str(copy)).fixed_format
        file.seek(5 * fixed_format.record_bytes + fixed_format.offsets[2] + 3)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    for backend in ("mmap", "pread"):
        load(copy, backend=backend)[21]  # off: trusted
        for crc in ("first", "always"):
            dataset = load(copy, backend=backend, crc=crc)
            dataset.take([20, 22])
            for _ in range(2):
                with pytest.raises(ManifestError, match=rf"00001-of-00010: record 5 at byte {5 * fixed_format.record_bytes:,}: its CRC"):
                    dataset.take([22, 21, 20])


@pytest.mark.everywhere
def test_loading_imports_numpy_alone(directory):
    code = (
        "import sys, tokenreel.loaders as l\n"
        f"d = l.load({str(directory)!r}); b = d.batches(4); next(b)\n"
        "heavy = "
        "{'tensorflow', 'jax', 'torch', 'grain', 'keras', 'pyarrow', 'apache_beam', 'sentencepiece', 'google.cloud.storage', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"

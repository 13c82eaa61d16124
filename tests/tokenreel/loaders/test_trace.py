import json
import pathlib
import shutil

import numpy as np
import pytest

from tests.datasets import random_examples, write_dataset
from tokenreel.errors import ConfigError, ManifestError
from tokenreel.loaders import Lanes, Mixture, load, trace
from tokenreel.vocabularies.token_ids import PassThroughVocabulary

COUNT, LENGTH = 103, 16


@pytest.fixture(scope="module")
def arrays():
    return random_examples(COUNT, LENGTH, padded=True)


@pytest.fixture(scope="module")
def dataset(arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("dataset") / "d"
    write_dataset(path, {"train": arrays}, per_shard=16)
    return load(path)


NUMBERS = PassThroughVocabulary(vocab_size=1000)  # decodes ids as numbers, so that texts are easy to check


@pytest.mark.parametrize("shuffle", [True, False, Lanes(lanes=4, mix=2, block=5)])
def test_where_says_what_the_batch_holds(arrays, dataset, shuffle):
    options = {"seed": 3, "shuffle": shuffle, "epochs": 3, "skip": [(15, 30)], "drop_remainder": False}
    for step, batch in enumerate(dataset.batches(8, **options, prefetch=0)):
        found = dataset.where(step, 8, vocabulary=NUMBERS, **options)
        assert [entry["example"] for entry in found] == batch["example_id"].tolist()
        for row, entry in enumerate(found):
            example = entry["example"]
            assert (entry["step"], entry["row"]) == (step, row)
            data = (pathlib.Path(dataset.path) / entry["shard"]).read_bytes()[slice(*entry["bytes"])]
            record = dataset.manifest.fixed_format.decode(np.frombuffer(data, np.uint8)[None])
            assert record["example_id"][0] == example and entry["record"] == example % 16
            number = arrays["num_tokens"][example]
            assert [document["doc_id"] for document in entry["documents"]] == [
                f"train-{example}-{i}" for i in range(len(entry["documents"]))
            ]
            assert sum(document["length"] for document in entry["documents"]) == number
            assert entry["documents"][0]["source"] == ("odd" if example % 2 else "even")
            assert entry["documents"][0]["metadata"] == {"title": json.dumps({"n": example})}
            text = " ".join(document["text"] for document in entry["documents"])
            assert text == NUMBERS.decode(arrays["tokens"][example, :number].tolist())


@pytest.mark.parametrize("shuffle", [True, False, Lanes(lanes=4, mix=2, block=5)])
def test_when_is_the_inverse(dataset, shuffle):
    options = {"seed": 3, "shuffle": shuffle, "epochs": 3, "skip": [(15, 30)]}
    expected = {example: [] for example in range(COUNT)}
    for step, batch in enumerate(dataset.batches(8, **options, prefetch=0)):
        for row, example in enumerate(batch["example_id"].tolist()):
            expected[example].append((step, row))
    for example in range(COUNT):
        assert [(entry["step"], entry["row"]) for entry in dataset.when(example, 8, **options)] == expected[example]
    with pytest.raises(ConfigError, match="give a limit"):
        dataset.when(1, 8)
    assert len(dataset.when(1, 8, limit=5)) == 5
    with pytest.raises(IndexError, match="0 to 102"):
        dataset.when(103, 8, limit=1)


def test_mixtures_are_traced(dataset, tmp_path):
    write_dataset(tmp_path / "b", {"train": random_examples(40, LENGTH, padded=True, seed=8)})
    mixture = Mixture({"a": dataset, "b": load(tmp_path / "b")}, {"a": 2, "b": 1}, by="examples", budget=500)
    batches = mixture.batches(16, seed=1, prefetch=0)
    seen = {}
    for step, batch in enumerate(batches):
        found = batches.where(step)
        assert [mixture.names.index(entry["source"]) for entry in found] == batch["source"].tolist()
        assert [entry["example"] for entry in found] == batch["example_id"].tolist()
        assert all(entry["documents"][0]["doc_id"] == f"train-{entry['example']}-0" for entry in found)
        for entry in found:
            seen.setdefault((entry["source"], entry["example"]), []).append((step, entry["row"]))
    for (name, example), expected in list(seen.items())[:40]:
        assert [(entry["step"], entry["row"]) for entry in batches.when(example, name)] == expected
    with pytest.raises(ConfigError, match="no source 'c'"):
        batches.when(0, "c")


def test_rows_samples_and_steps_outside(dataset):
    batches = dataset.batches(10, epochs=1, prefetch=0)
    whole = batches.where(3)
    assert [dict(entry) for entry in batches.where(3, rows=[9, 2])] == [dict(whole[9]), dict(whole[2])]
    assert trace.where_samples(batches, [32])[0]["example"] == whole[2]["example"]
    with pytest.raises(IndexError, match="steps 0 to 9"):
        batches.where(10)
    with pytest.raises(IndexError, match="rows 0 to 9"):
        batches.where(3, rows=[10])


@pytest.mark.parametrize("hosts", [1, 2])
def test_rows_of_padding_hold_nothing(dataset, hosts):
    options = {"epochs": 1, "shuffle": False, "pad_remainder": True, "hosts": hosts}
    for host in range(hosts):
        batches = dataset.batches(8, host=host, prefetch=0, **options)
        for step, batch in enumerate(batches):
            real = batch["example_id"][batch["example_id"] >= 0].tolist()
            assert [entry["example"] for entry in batches.where(step)] == real
    assert step == 12 and len(batches.where(12)) == (7 if hosts == 1 else 3)  # 103 = 12 * 8 + 7
    with pytest.raises(IndexError, match="rows 0 to 6"):
        batches.where(12, rows=[7])


def test_without_provenance(dataset, tmp_path):
    copy = shutil.copytree(dataset.path, tmp_path / "d")
    shutil.rmtree(tmp_path / "d" / "provenance")
    assert load(copy).where(0, 4)[0]["documents"] is None
    with pytest.raises(FileNotFoundError):
        trace.documents(load(copy), [0])
    (tmp_path / "d" / "provenance").mkdir()
    for shard in range(7):
        (tmp_path / "d" / "provenance" / f"train-{shard:05d}-of-00007.parquet").write_bytes(b"no table")
    with pytest.raises(ManifestError, match=r"train-00000-of-00007\.parquet: 8 bytes, the manifest says"):
        trace.documents(load(copy), [0])


def test_text_is_asked_of_records_that_hold_it(tmp_path):
    """`where --text` of a T5 dataset was a KeyError."""
    golden = pathlib.Path(__file__).parents[2] / "golden/datasets/v2/t5"
    assert trace.documents(load(golden), [0])[0][0]["doc_id"]
    with pytest.raises(ConfigError, match=r"its records hold example_id, inputs, .* and not the tokens of documents side by side"):
        trace.documents(load(golden), [0], vocabulary=load(golden).vocabulary())

"""`tokenreel extract-features`: what a model says of a dataset, by example and by document."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
import yaml

import tokenreel
from pipelines import build, cli, extract_features
from tests import buckets
from tests.conftest import tree_digest
from tests.logits import log_softmax
from tests.pipelines import feature_models
from tokenreel.errors import ConfigError, ManifestError
from tokenreel.extracting import feature_job
from tokenreel.extracting.feature_job import FeatureJob
from tokenreel.format import features as stored
from tokenreel.format.features import FeatureStore
from tokenreel.loaders.mixture import Mixture

MODEL = {"build": "tests.pipelines.feature_models:causal", "version": "1"}
SETTINGS = {
    "model": MODEL,
    "logits": {"top_k": 4, "top_k_dtype": "float32"},
    "layers": [
        {"name": "block", "dtype": "float16"},
        {"name": "norm", "dtype": "bfloat16"},
        {"name": "token_embedding", "pool": "mean", "dtype": "float32"},
    ],
    "shards": {"examples": 24},
    "batch_size": 8,
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> pathlib.Path:
    """Documents of two sources, some cut, some of one token, in examples of which the last is padded."""
    directory = tmp_path_factory.mktemp("dataset")
    for name, some in (("a", texts[:40]), ("b", texts[40:70])):
        rows = [{"id": f"{name}-{number}", "text": text[:400]} for number, text in enumerate(some)]
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "output": str(directory / "built"),
        "sources": [{"name": name, "files": [f"{name}.jsonl"], "id_field": "id"} for name in "ab"],
        "vocabulary": {"kind": "bytes"},
        "packing": {"seq_len": 64, "overlap": 1, "last_example": "pad"},
        "splits": {"validation": "20%"},
        "shards": {"examples": 50},
    }
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    assert build.main([str(directory / "config.yaml"), "--direct_num_workers=1"]) == 0
    return directory / "built"


def write(directory: pathlib.Path, dataset: pathlib.Path, name: str, **settings: object) -> tuple[str, pathlib.Path]:
    path, output = directory / f"{name}.yaml", directory / name
    path.write_text(yaml.safe_dump({**SETTINGS, "dataset": str(dataset), "output": str(output), **settings}))
    return str(path), output


def run(directory: pathlib.Path, dataset: pathlib.Path, name: str, *options: str, **settings: object) -> tuple[int, pathlib.Path]:
    config, output = write(directory, dataset, name, **settings)
    return extract_features.main([config, "--direct_num_workers=1", *options]), output


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory, dataset: pathlib.Path) -> pathlib.Path:
    code, output = run(tmp_path_factory.mktemp("extracted"), dataset, "features")
    assert code == 0
    return output


@pytest.fixture
def looks_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at models in this process, which takes seconds less."""
    monkeypatch.setattr(FeatureJob, "look", lambda job: dataclasses.replace(job, specs=feature_job._look(job)))


def assert_close(found: npt.NDArray[np.generic], wanted: npt.NDArray[np.generic], share: float) -> None:
    """Compares relative to the largest value."""
    assert found.shape == wanted.shape
    assert np.abs(found.astype(np.float64) - wanted).max() <= share * np.abs(wanted).max()


@pytest.mark.parametrize("split", ["train", "validation"])
def test_features_are_what_the_model_says_of_the_same_examples(dataset: pathlib.Path, extracted: pathlib.Path, split: str) -> None:
    examples = tokenreel.load(dataset, split)
    numbers = np.arange(len(examples))
    arrays = examples.take(numbers, ["inputs", "targets", "loss_weights", "segment_ids"])
    real = arrays["segment_ids"] > 0
    model = feature_models.causal()
    hidden = np.asarray(model({"token_ids": arrays["inputs"], "padding_mask": real}))
    logits = np.asarray(model.get_layer("token_embedding")(hidden, reverse=True))
    found = FeatureStore(extracted).take(split, numbers)
    chosen = np.take_along_axis(log_softmax(logits), arrays["targets"][..., None], -1)[..., 0]
    assert_close(found["logprobs"], np.where(arrays["loss_weights"] > 0, chosen, 0), 1e-5)
    order = np.argsort(-logits, axis=-1, kind="stable")[..., :4]
    np.testing.assert_array_equal(found["topk_ids"], np.where(real[..., None], order, 0))
    best = np.where(real[..., None], np.take_along_axis(logits, order, -1), 0)
    assert_close(found["topk_values"], best, 1e-5)
    summed = np.exp(found["topk_values"] - found["log_normalizer"][..., None]).sum(axis=-1)[real]
    assert (summed <= 1 + 1e-5).all()
    import keras

    inner = keras.Model(model.input, [model.get_layer(name).output for name in ("block", "norm", "token_embedding")])
    block, norm, embedded = (np.asarray(each) for each in inner({"token_ids": arrays["inputs"], "padding_mask": real}))
    assert_close(found["layer.block"], np.where(real[..., None], block, 0), 1e-3)
    assert_close(found["layer.norm"], np.where(real[..., None], norm, 0), 1e-2)
    mean = (embedded * real[..., None]).sum(axis=1) / real.sum(axis=1)[:, None]
    assert_close(found["layer.token_embedding"], mean, 1e-5)
    assert found["layer.block"].dtype == np.float16 and found["layer.norm"].dtype == np.float32


def test_padding_is_not_stored(dataset: pathlib.Path, extracted: pathlib.Path) -> None:
    examples = tokenreel.load(dataset, "validation")
    last = examples.take([-1], ["num_tokens"])["num_tokens"][0]
    lengths = FeatureStore(extracted).records("validation").lengths("logprobs")
    assert lengths[-1] == min(last, 64) < 64 and (lengths[:-1] == 64).all()


def test_the_loader_gives_both(dataset: pathlib.Path, extracted: pathlib.Path) -> None:
    plain, store = tokenreel.load(dataset), FeatureStore(extracted)
    both = plain.with_features(extracted)
    assert set(both.features) == set(plain.features) | set(store.specs)
    batches = both.batches(5, seed=3, features=["inputs", "example_id", "logprobs", "topk_ids"])
    for _ in range(4):
        batch = next(batches)
        wanted = store.take("train", batch["example_id"])
        np.testing.assert_array_equal(batch["logprobs"], wanted["logprobs"])
        np.testing.assert_array_equal(batch["topk_ids"], wanted["topk_ids"])
        assert batch["topk_ids"].dtype == np.int32
    again = both.batches(5, seed=3, features=["example_id", "logprobs"])
    again.set_state(batches.get_state())
    np.testing.assert_array_equal(next(again)["logprobs"], next(batches)["logprobs"])
    assert set(plain.with_features(extracted, ["logprobs"]).features) == {*plain.features, "logprobs"}
    mixed = Mixture({"a": both, "b": both}, stop="all_used").batches(4, features=["example_id", "logprobs"])
    batch = next(mixed)
    np.testing.assert_array_equal(batch["logprobs"], store.take("train", batch["example_id"])["logprobs"])
    masked = both.batches(4, objective=both.objective("prefix_lm"), features=["prefix_mask", "logprobs", "example_id"])
    batch = next(masked)
    np.testing.assert_array_equal(batch["logprobs"], store.take("train", batch["example_id"])["logprobs"])
    padded = list(both.batches(16, epochs=1, shuffle=False, pad_remainder=True, features=["logprobs", "example_id"]))[-1]
    assert not padded["logprobs"][padded["example_id"] < 0].any()


def test_features_of_another_dataset_are_refused(dataset: pathlib.Path, extracted: pathlib.Path, tmp_path: pathlib.Path) -> None:
    other = tmp_path / "other"
    code = build.main([str(dataset.parent / "config.yaml"), "--direct_num_workers=1", f"--output={other}", "--set", "seed=5"])
    assert code == 0
    with pytest.raises(ManifestError, match="its examples are others"):
        tokenreel.load(other).with_features(extracted)
    with pytest.raises(ManifestError, match="no feature 'nothing'; there are"):
        tokenreel.load(dataset).with_features(extracted, ["nothing"])
    with pytest.raises(ManifestError, match="no features here"):
        tokenreel.load(dataset).with_features(dataset)
    with pytest.raises(ManifestError, match="and no dataset"):
        tokenreel.load(extracted)


def test_documents_are_scored_over_all_of_their_segments(dataset: pathlib.Path, extracted: pathlib.Path) -> None:
    examples = tokenreel.load(dataset)
    store = FeatureStore(extracted)
    arrays = examples.take(np.arange(len(examples)), ["loss_weights", "segment_ids", "tokens"])
    logprobs = store.take("train", np.arange(len(examples)))["logprobs"]
    sums: dict[str, list[float]] = {}
    for number, listed in enumerate(examples.documents(np.arange(len(examples)))):
        place = 0
        for document in listed:
            length = document["tokens"] if "tokens" in document else document["length"]
            targets = slice(max(place - 1, 0), place + length - 1)  # target i is token i + 1
            known = sums.setdefault(document["doc_id"], [0, 0.0])
            mine = arrays["loss_weights"][number, targets] > 0
            if place:  # the first token of a segment is not predicted from another document
                mine[0] = False
            known[0] += int(mine.sum())
            known[1] += float(logprobs[number, targets][mine].sum(dtype=np.float64))
            place += length
    (table,) = [pq.read_table(path) for path in sorted((extracted / "scores").glob("train-*"))]
    found = {row["doc_id"]: row for row in table.to_pylist()}
    assert set(found) == {name for name, (count, _) in sums.items() if count}
    for name, row in found.items():
        count, total = sums[name]
        assert row["predicted_tokens"] == count and row["source"] == name[0]
        assert row["logprob"] == pytest.approx(total, rel=1e-6) and row["score"] == pytest.approx(total / count, rel=1e-6)
        assert row["perplexity"] == pytest.approx(np.exp(-total / count), rel=1e-6)
    told = json.loads((extracted / "statistics.json").read_text())["splits"]["train"]
    assert told["predicted_tokens"] == int((arrays["loss_weights"] > 0).sum()) == sum(each["predicted_tokens"] for each in found.values())
    assert set(told["sources"]) == {"a", "b"}
    of_a = [row for row in found.values() if row["source"] == "a"]
    assert told["sources"]["a"]["documents"] == len(of_a)
    score = sum(row["logprob"] for row in of_a) / sum(row["predicted_tokens"] for row in of_a)
    assert told["sources"]["a"]["perplexity"] == pytest.approx(np.exp(-score))


@pytest.mark.slow
def test_the_same_bytes_from_two_workers_and_from_a_killed_and_resumed_run(
    dataset: pathlib.Path, extracted: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    config, output = write(tmp_path, dataset, "killed")
    command = [sys.executable, "-m", "pipelines.extract_features", config, "--direct_num_workers=1"]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    process = subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not list(output.glob(".stage/*/shards/*.json")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = {path.name: path.stat().st_mtime_ns for path in output.glob(".stage/*/shards/*.json")}
    assert cli.main(["extract-features", config, "--direct_num_workers=2"]) == 0
    assert tree_digest(output) == tree_digest(extracted)
    assert finished or (output / "manifest.json").exists()


@pytest.mark.usefixtures("looks_here")
def test_in_a_bucket(dataset: pathlib.Path, extracted: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The dataset and the features: the same bytes as on a disk, and a second command finds them complete."""
    with buckets.storage() as remote:
        buckets.upload(dataset, f"{remote}/dataset")
        config, _ = write(tmp_path, dataset, "remote")
        places = ["--dataset", f"{remote}/dataset", "--output", f"{remote}/features", "--direct_num_workers=1"]
        assert extract_features.main([config, *places]) == 0
        assert extract_features.main([config, *places]) == 0
        assert cli.main(["verify", f"{remote}/features"]) == 0
        found = tokenreel.load(f"{remote}/dataset").with_features(f"{remote}/features", ["logprobs"]).take([3, 1])["logprobs"]
        buckets.download(f"{remote}/features", tmp_path / "copy")
    assert tree_digest(tmp_path / "copy") == tree_digest(extracted)
    np.testing.assert_array_equal(found, FeatureStore(extracted).take("train", [3, 1])["logprobs"])


@pytest.mark.usefixtures("looks_here")
def test_a_finished_directory_is_found_complete_and_another_is_not_replaced(
    dataset: pathlib.Path, extracted: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "features"
    shutil.copytree(extracted, copy)
    config, _ = write(tmp_path, dataset, "features")
    assert extract_features.main([config, "--direct_num_workers=1"]) == 0
    assert "is complete already" in capsys.readouterr().err and tree_digest(copy) == tree_digest(extracted)
    arguments = [config, "--direct_num_workers=1", "--set"]
    assert extract_features.main([*arguments, "logits.top_k=2"]) == 1
    assert "finished dataset with other settings" in capsys.readouterr().err
    assert extract_features.main([*arguments, "model.version=2"]) == 1
    assert "finished dataset with other model" in capsys.readouterr().err
    assert tree_digest(copy) == tree_digest(extracted)


@pytest.mark.usefixtures("looks_here")
def test_sizes_are_planned_and_refused(dataset: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, output = write(tmp_path, dataset, "features")
    assert extract_features.main([config, "--plan"]) == 0
    assert "layer.block" in (said := capsys.readouterr().out) and "GB of features" in said
    assert extract_features.main([config, "--set", "max_gigabytes=0.0001"]) == 2
    assert "more than max_gigabytes, 0.0001. Pool layers" in capsys.readouterr().err and not output.exists()
    assert extract_features.main([config, "--set", "logits.top_k=50000"]) == 2
    assert "at most 1,024" in capsys.readouterr().err


@pytest.mark.usefixtures("looks_here")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": [{"name": "nothing"}]}, "the model has no layer 'nothing'; it has token_embedding, block"),
        ({"inputs": {"token_ids": "nothing"}}, "inputs.token_ids: there is no field 'nothing' of the dataset"),
        ({"inputs": {"nothing": "tokens"}}, "inputs.nothing: the model has no such input; it has"),
        ({"model": MODEL | {"arguments": {"vocab_size": 20}}}, "logits of 20 ids, and the dataset's vocabulary"),
        ({"model": MODEL | {"build": "tests.pipelines.feature_models:missing"}}, "cannot be imported"),
        ({"splits": ["test"]}, "has no split 'test' with examples; it has train, validation"),
        ({"targets": "masked"}, "not what a model predicts for masked"),
        ({"model": {"path": "nowhere.keras"}}, "nowhere.keras cannot be read"),
    ],
)
def test_mistakes_are_told_before_the_job(dataset: pathlib.Path, tmp_path: pathlib.Path, settings: dict[str, object], message: str) -> None:
    config, output = write(tmp_path, dataset, "features", **settings)
    with pytest.raises(ConfigError) as raised:
        extract_features.run(arguments(config))
    assert message in str(raised.value) and not output.exists()


def arguments(config: str) -> object:
    import argparse

    parser = argparse.ArgumentParser()
    extract_features.add_arguments(parser)
    return parser.parse_args([config])


def change_a_byte(directory: pathlib.Path) -> str:
    path = sorted(directory.glob("train.tfrecord-*"))[1]
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    return path.name


def remove_an_index(directory: pathlib.Path) -> str:
    path = sorted(directory.glob("train.index-*"))[0]
    path.unlink()
    return path.name


def change_a_score(directory: pathlib.Path) -> str:
    (path,) = directory.glob("scores/train-*")
    pq.write_table(pq.read_table(path).slice(1), path)
    return "scores/train"


def change_the_manifest(directory: pathlib.Path) -> str:
    path = directory / "manifest.json"
    path.write_text(path.read_text().replace('"dtype": "bfloat16"', '"dtype": "uint16"'))
    return "altered"


@pytest.mark.parametrize("damage", [change_a_byte, remove_an_index, change_a_score, change_the_manifest])
def test_verify_finds_damage(
    extracted: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], damage: Callable[[pathlib.Path], str]
) -> None:
    copy = tmp_path / "features"
    shutil.copytree(extracted, copy)
    assert cli.main(["verify", str(copy)]) == 0
    assert "sound. Features of dataset" in capsys.readouterr().out
    expected = damage(copy)
    assert cli.main(["verify", str(copy)]) == 1
    said = capsys.readouterr()
    assert expected in said.out + said.err


def test_features_are_shown(extracted: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(extracted), "--count", "1", "--split", "validation"]) == 0
    assert "  layer.norm: float32 [64, 16]:" in capsys.readouterr().out
    page = tmp_path / "page.html"
    assert cli.main(["report", str(extracted), "--output", str(page)]) == 0
    text = page.read_text()
    assert "perplexity of a" in text and stored.read(str(extracted)).fingerprint in text

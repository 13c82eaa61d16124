"""The code on the pages of the loader runs."""

import itertools
import os
import pathlib
import re
import socket
import subprocess
import sys

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np
import pytest

from tests.datasets import random_examples, write_dataset

ROOT = pathlib.Path(__file__).parents[3]
PAGE = pathlib.Path(__file__).parents[3] / "docs" / "loader.md"


def test_the_code_on_the_page_runs(tmp_path, monkeypatch):
    splits = {"train": random_examples(100, 64, vocab_size=259), "validation": random_examples(40, 64, vocab_size=259, seed=1)}
    write_dataset(tmp_path / "demo/dataset", splits, vocab_size=259)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 6
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert {"mask_positions", "mask_ids", "mask_weights"} <= set(names["masked"].output_shapes())  # type: ignore[attr-defined]


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """A working directory with a dataset whose examples overlap, are padded, and make no whole number of batches."""
    splits = {
        name: random_examples(count, 64, overlap=1, vocab_size=259, padded=True, seed=count)
        for name, count in (("train", 100), ("validation", 43))
    }
    write_dataset(tmp_path / "demo/dataset", splits, overlap=1, vocab_size=259)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mean_of_validation():
    from tokenreel.loaders import load

    every = load("demo/dataset", "validation").take(np.arange(43), ["inputs", "targets", "loss_weights"])
    return ((every["inputs"] != every["targets"]) * every["loss_weights"]).sum(dtype=np.float64) / every["loss_weights"].sum(
        dtype=np.float64
    )


def test_the_page_of_keras(demo):
    import keras

    names = {}
    for block in blocks("keras.md"):
        exec(compile(block, "docs/keras.md", "exec"), names)
    assert names["state"]["cursor"] == 8 * 8
    every = names["tokenreel"].load("demo/dataset", "validation").take(np.arange(43), names["features"])
    logits = names["model"].predict(every["inputs"], verbose=0)
    each = keras.ops.convert_to_numpy(keras.losses.sparse_categorical_crossentropy(every["targets"], logits, from_logits=True))
    exact = (each * every["loss_weights"]).sum() / every["loss_weights"].sum()
    assert names["found"]["per_token"] == pytest.approx(exact, rel=1e-5)
    assert float(names["loss"](every["targets"], logits, every["loss_weights"])) == pytest.approx(exact, rel=1e-5)
    plain = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(every["targets"], logits, every["loss_weights"])
    assert float(plain) < 0.9 * exact  # what Keras does by default


def test_the_page_of_hosts(demo):
    names = {}
    for block in blocks("hosts.md"):
        exec(compile(block, "docs/hosts.md", "exec"), names)
    assert names["mean"] == pytest.approx(mean_of_validation(), abs=1e-9)
    assert names["state"]["cursor"] == 8


WORKER = """
import re, sys
import jax
jax.config.update("jax_platforms", "cpu")
jax.distributed.initialize(f"127.0.0.1:{sys.argv[1]}", 2, int(sys.argv[2]))
names = {}
for block in re.findall(r"^```python\\n(.*?)^```$", open(sys.argv[3], encoding="utf-8").read(), re.DOTALL | re.MULTILINE):
    exec(compile(block, "docs/hosts.md", "exec"), names)
print("mean", names["mean"], names["count"])
"""


def test_the_page_of_hosts_on_two_hosts(demo):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WORKER, port]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(ROOT / "docs/hosts.md")], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=600) for process in processes]
    for process, (output, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors
        (mean,) = re.findall(r"^mean (\S+)", output, re.MULTILINE)
        assert float(mean) == pytest.approx(mean_of_validation(), abs=1e-9)


def test_the_page_says_what_segment_ids_are_in_each_layout():
    """Of datasets that were built with each recipe's layout."""
    from tests.golden import builds
    from tokenreel.layouts.modes import MODES, PAIRS
    from tokenreel.loaders import load

    rows = re.findall(r"^\| (`[^|]*`) \| (derived|stored)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    told = {mode: kind for modes, kind in rows for mode in re.findall(r"`(\w+)`", modes)}
    assert set(told) == {*MODES, PAIRS, "full_sentences"}
    newest = sorted(builds.DATASETS.iterdir())[-1]
    for recipe, mode in itertools.product(builds.recipes(), told):
        dataset = load(newest / recipe)
        if dataset.manifest.config["packing"].get("mode", "wrap") != mode:
            continue
        if not {"segment_ids", "document_starts"} & set(dataset.features):
            continue  # span corruption leaves pairs of inputs and targets
        names = ["segment_ids", *(["num_tokens"] if "num_tokens" in dataset.features else [])]
        batch = dataset.take(np.arange(len(dataset)), names)
        ids = batch["segment_ids"]
        real = np.arange(ids.shape[1]) < batch.get("num_tokens", np.full(len(ids), ids.shape[1]))[:, None]
        assert ("segment_ids" in dataset.features) == (told[mode] == "stored")
        assert (ids[~real] == 0).all()
        if told[mode] == "stored":
            assert set(np.unique(ids[real])) == {0, 1}
        else:  # with `align`, gaps of padding lie between the tokens
            assert ids.max() >= 1 and ((ids[real] >= 1).all() or dataset.manifest.config["packing"]["align"] > 1)


def test_its_commands_are_those_there_are(tmp_path, monkeypatch):
    from tokenreel.commands import main

    write_dataset(tmp_path / "demo/dataset", {"train": random_examples(100, 64, vocab_size=259)}, vocab_size=259)
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^tokenreel (where|when) (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name, _ in commands] == ["where", "when"]
    for name, arguments in commands:
        assert main(name, arguments.replace("ID", "train-3-0").split()) == 0
    assert main("where", ["nowhere", "--batch-size", "8", "--step", "0"]) == 2
    with pytest.raises(SystemExit):
        main("when", ["demo/dataset"])

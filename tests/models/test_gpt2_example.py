"""The examples of GPT-2: what they end with, and what a run is after it was interrupted, on other hosts."""

import itertools
import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")

from examples import demo_corpus
from tokenreel.loaders import load

pytestmark = pytest.mark.models
ROOT = pathlib.Path(__file__).parents[2]
STEPS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of the examples whose text is a part of Python's documentation."""
    path = tmp_path_factory.mktemp("examples")
    demo_corpus.write(path / "whole.jsonl")
    with open(path / "whole.jsonl", encoding="utf-8") as text, open(path / "corpus.jsonl", "w", encoding="utf-8") as part:
        part.writelines(itertools.islice(text, 800))
    return path


def arguments(folder, run, steps=STEPS):
    return ["--folder", str(folder), "--run", run, "--steps", str(steps), "--every", "4"]


def losses(folder, run):
    return json.loads((folder / run / f"checkpoint-{STEPS}/state.json").read_text())["losses"]


@pytest.fixture(scope="module")
def undisturbed(folder):
    from examples.models import gpt2

    return gpt2.main(arguments(folder, "undisturbed"))


def test_the_loss_falls_and_all_is_as_keras_hub_has_it(undisturbed):
    assert len(undisturbed["losses"]) == STEPS and undisturbed["losses"][-1] < undisturbed["losses"][0] - 0.3
    assert undisturbed["difference"] == 0 and undisturbed["same_tokens"]


def test_a_run_that_goes_on_over_two_hosts_has_the_losses_of_the_undisturbed_one(folder, undisturbed):
    from examples.models import gpt2

    gpt2.main(arguments(folder, "interrupted", steps=5))
    (folder / "interrupted/new-0").mkdir()  # as a host leaves it that is killed while it writes a checkpoint
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "examples.models.gpt2", *arguments(folder, "interrupted"), "--hosts", "2", "--address", address]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "jax"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": environment, "cwd": ROOT}
    hosts = [subprocess.Popen([*command, "--host", str(host)], **pipes) for host in range(2)]
    for host in hosts:
        output, _ = host.communicate(timeout=600)
        assert host.returncode == 0, output
    np.testing.assert_allclose(losses(folder, "interrupted"), undisturbed["losses"], rtol=0, atol=1e-5)
    assert [path.name for path in (folder / "interrupted").iterdir()] == [f"checkpoint-{STEPS}"]


def test_with_another_batch_size_the_same_examples_come_in_the_same_order(folder, undisturbed):
    state = json.loads((folder / f"undisturbed/checkpoint-{STEPS}/state.json").read_text())["batches"]

    def ids(batch_size, hosts=1):
        found = []
        for host in range(hosts):
            batches = load(folder / "gpt2").batches(batch_size, seed=0, hosts=hosts, host=host)
            batches.set_state(state)
            found.append([batch["example_id"] for batch in itertools.islice(batches, 96 // batch_size)])
        return np.concatenate([np.concatenate(rows) for rows in zip(*found, strict=True)]).tolist()

    assert state["cursor"] == STEPS * 16
    assert ids(16) == ids(24) == ids(8, hosts=2) and len(set(ids(16))) == 96


def test_weights_of_a_preset(folder, tmp_path):
    from examples.models import gpt2

    body = gpt2.backbone(2000, 64)
    body.save_to_preset(str(tmp_path / "preset"))
    found = gpt2.main([*arguments(folder, "preset", steps=1), "--preset", str(tmp_path / "preset")])
    assert found["same_tokens"]


def test_documents_of_packed_examples_are_as_if_they_stood_alone(folder):
    from examples.models import gpt2_packed

    found = gpt2_packed.main(["--folder", str(folder), "--steps", "8"])
    assert found["losses"][-1] < found["losses"][0] - 0.2
    assert found["apart"] <= 1e-5 < 1e-3 < found["together"]

"""The example of a loop of JAX's own on a mesh over two processes."""

import os
import pathlib
import re
import subprocess
import sys

from tests.datasets import random_examples, write_dataset

ROOT = pathlib.Path(__file__).parents[1]


def test_two_processes_that_are_resumed_have_the_losses_of_one(tmp_path):
    write_dataset(tmp_path / "d", {"train": random_examples(100, 16, overlap=1, vocab_size=50)}, overlap=1, vocab_size=50)
    command = [sys.executable, "-m", "examples.models.jax_mesh", str(tmp_path / "d"), str(tmp_path / "runs"), "--steps", "10"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    first, last = map(float, re.search(r"loss ([\d.]+) at first, ([\d.]+) after 10 steps", result.stdout).groups())
    assert last < first
    difference = re.search(r"2 processes, stopped and resumed: the losses differ by (\S+) at most", result.stdout)
    assert float(difference[1]) <= 1e-5

"""Trains with JAX alone on a mesh of data and model, in one process and in two that are stopped and go on, and compares the losses.

    python -m examples.models.jax_mesh demo/dataset demo/mesh

The dataset is that of `make demo`. Without `--process` the program starts all processes itself, each with its share of four devices.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import socket
import subprocess
import sys
from typing import Any

import numpy as np

DEVICES, WIDTH, BATCH = 4, 32, 16


def train(options: argparse.Namespace) -> None:
    """Trains in this process, with others if there are any, up to a step; what the folder holds is resumed from."""
    import jax

    jax.config.update("jax_platforms", "cpu")
    if options.processes > 1:
        jax.distributed.initialize(options.address, options.processes, options.process)
    import tokenreel
    from tokenreel.loaders.to_jax import JaxBatches

    mesh = jax.sharding.Mesh(np.array(jax.devices()).reshape(2, 2), ("data", "model"))

    def sharded(*axes: Any) -> Any:
        return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))

    dataset = tokenreel.load(options.dataset)
    seq_len, vocab_size = dataset.manifest.seq_len, dataset.manifest.vocabulary.vocab_size
    sizes = {"tokens": (vocab_size, WIDTH), "places": (seq_len, WIDTH), "mixed": (WIDTH, 4 * WIDTH), "out": (4 * WIDTH, WIDTH)}
    axes = {"tokens": (), "places": (), "mixed": (None, "model"), "out": ("model", None)}  # the model axis cuts the hidden layer
    made = np.random.default_rng(0)
    parameters = {name: 0.1 * made.standard_normal(shape, np.float32) for name, shape in sizes.items()}
    run = dataset.batches(BATCH, seed=0, features=["inputs", "targets", "loss_weights"])  # no hosts: the sharding says which rows
    losses: list[float] = []
    checkpoint = options.folder / "checkpoint.npz"
    if checkpoint.exists():
        with np.load(checkpoint) as saved:
            parameters = {name: saved[name] for name in sizes}
            state = json.loads(str(saved["state"]))
        run.set_state(state["batches"])
        losses = state["losses"]
    places = {name: sharded(*axes[name]) for name in sizes}
    parameters = {name: jax.make_array_from_callback(value.shape, places[name], value.__getitem__) for name, value in parameters.items()}
    batches = JaxBatches(run, sharded("data"))

    def loss_of(parameters: dict[str, Any], batch: dict[str, Any]) -> Any:
        x = parameters["tokens"][batch["inputs"]] + parameters["places"]
        x = x + jax.numpy.cumsum(x, axis=1) / (1 + jax.numpy.arange(seq_len))[:, None]  # each position reads the mean of those before it
        x = x + jax.nn.gelu(x @ parameters["mixed"]) @ parameters["out"]
        found = jax.nn.log_softmax(x @ parameters["tokens"].T)
        right = jax.numpy.take_along_axis(found, batch["targets"][..., None], axis=-1)[..., 0]
        return -(right * batch["loss_weights"]).sum() / batch["loss_weights"].sum()  # over the batch of all processes

    @jax.jit
    def step(parameters: dict[str, Any], batch: dict[str, Any]) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(parameters, batch)
        return jax.tree.map(lambda value, gradient: value - 0.5 * gradient, parameters, gradients), loss

    while len(losses) < options.steps:
        parameters, loss = step(parameters, next(batches))
        losses.append(float(loss))
    whole = {name: np.asarray(jax.device_get(_gathered(value))) for name, value in parameters.items()}
    if options.process in (None, 0):
        state = {"batches": batches.get_state(), "losses": losses}  # where what was trained on ends, not what was read ahead
        np.savez(options.folder / "new.npz", state=json.dumps(state), **whole)
        os.replace(options.folder / "new.npz", checkpoint)


def _gathered(value: Any) -> Any:
    """Brings the parts of an array that lie with other processes here; all processes call it."""
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(value, tiled=True)


def start(options: argparse.Namespace, name: str, processes: int, steps: int) -> list[float]:
    """Runs processes up to a step, and gives the losses from the first one on."""
    folder = options.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", __spec__.name, options.dataset, str(folder), "--processes", str(processes), "--address", address]
    environment = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={DEVICES // processes}"}
    started = [
        subprocess.Popen([*command, "--steps", str(steps), "--process", str(number)], env=environment) for number in range(processes)
    ]
    if any([each.wait() for each in started]):
        raise SystemExit(1)
    with np.load(folder / "checkpoint.npz") as saved:
        losses: list[float] = json.loads(str(saved["state"]))["losses"]
    return losses


def main(argv: list[str] | None = None) -> float:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dataset", help="directory of a dataset of next-token prediction")
    parser.add_argument("folder", type=pathlib.Path, help="for checkpoints; what is there is resumed from")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--process", type=int, help="number of this process; left out, the program starts all")
    parser.add_argument("--address", help="of process 0")
    options = parser.parse_args(argv)
    if options.process is not None:
        train(options)
        return 0.0
    alone = start(options, "alone", 1, options.steps)
    start(options, "together", options.processes, options.steps // 2)
    together = start(options, "together", options.processes, options.steps)
    difference = max(abs(one - other) for one, other in zip(alone, together, strict=True))
    print(f"loss {alone[0]:.3f} at first, {alone[-1]:.3f} after {len(alone)} steps")
    print(f"{options.processes} processes, stopped and resumed: the losses differ by {difference:.1e} at most")
    return difference


if __name__ == "__main__":
    main()

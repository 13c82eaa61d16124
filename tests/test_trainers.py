"""Trainers that people use, killed anywhere: what they train on afterwards is what an undisturbed run trains on.

The programs are those of examples/trainers, which the pages of docs/ show.
"""

import functools
import itertools
import json
import pathlib
import random
import socket
import time

import pytest

from tests import zygote
from tests.datasets import random_examples, write_dataset
from tokenreel.errors import ConfigError
from tokenreel.loaders import load

pytestmark = pytest.mark.trainers
TRAINERS = ["torch_loop", "torchdata_loop", "lightning_trainer", "accelerate_loop", "huggingface_trainer"]
COUNT, HELD_OUT = 103, 21  # no multiples of the batch
BATCH, STEPS, EVERY = 8, 24, 4

# All pairs of trainer, workers, fetching ahead, and processes; `slow` runs take the other combinations.
KINDS = [(False, 1), (True, 2), (True, 1), (False, 2)]
PAIRS = [(name, workers, *KINDS[(workers + number) % 4]) for number, name in enumerate(TRAINERS) for workers in range(4)]
OTHERS = [
    pytest.param(name, workers, *kind, marks=pytest.mark.slow)
    for name in TRAINERS
    for workers in range(4)
    for kind in KINDS
    if (name, workers, *kind) not in PAIRS
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("dataset") / "d"
    splits = {"train": random_examples(COUNT, 16, overlap=1), "validation": random_examples(HELD_OUT, 16, overlap=1, seed=1)}
    write_dataset(path, splits, overlap=1)
    return path


@pytest.fixture(scope="module")
def zygotes():
    """{name of a trainer: its zygote}, one at a time: each takes hundreds of megabytes."""
    found: dict[str, zygote.Zygote] = {}

    def get(name):
        for other in [other for other in found if other != name]:
            found.pop(other).close()
        if name not in found:
            found[name] = zygote.Zygote(f"examples.trainers.{name}", "examples.trainers.common")
        return found[name]

    yield get
    for one in found.values():
        one.close()


def lines(path: pathlib.Path) -> list[dict]:
    """What a process has logged; a line that it was killed in is none."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]


def torchrun(ranks: int) -> list[dict[str, str]]:
    """The environments that torchrun gives its processes."""
    if ranks == 1:
        return [{}]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
    shared |= {"TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0"}
    return [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)]


class Runs:
    """Runs of one program with the same arguments, one after the other, in one folder."""

    def __init__(self, program: zygote.Zygote, folder: pathlib.Path, directory: pathlib.Path, options: list[str], ranks: int) -> None:
        self.program, self.folder, self.ranks = program, folder, ranks
        self.argv = [str(directory), str(folder), "--steps", str(STEPS), "--every", str(EVERY), "--batch-size", str(BATCH), *options]
        folder.mkdir()

    def start(self) -> list[int]:
        output = str(self.folder / "output.txt")
        return [self.program.start(self.argv, environment, output) for environment in torchrun(self.ranks)]

    def take(self, name: str) -> list[list[dict]]:
        """Takes what each process has logged out of the folder."""
        found = []
        for rank in range(self.ranks):
            path = self.folder / f"{name}-{rank}.jsonl"
            found.append(lines(path))
            path.unlink(missing_ok=True)
        return found

    def kill_at(self, steps: int, later: float) -> list[list[dict]]:
        """Starts, kills all processes some seconds after the first has begun so many steps, and gives what each trained on."""
        pids = self.start()
        end = time.monotonic() + 240
        while len(lines(self.folder / "trained-0.jsonl")) < steps:
            output = (self.folder / "output.txt").read_text() if (self.folder / "output.txt").exists() else ""
            assert time.monotonic() < end and "Traceback" not in output, output[-3000:]
            time.sleep(0.002)
        time.sleep(later)
        zygote.kill(pids)
        assert {self.program.wait(pid) for pid in pids} <= {-9, 0}
        self.take("evaluated")
        return self.take("trained")

    def finish(self) -> None:
        pids = self.start()
        assert [self.program.wait(pid) for pid in pids] == [0] * self.ranks, (self.folder / "output.txt").read_text()[-3000:]


@pytest.mark.parametrize(("name", "workers", "ahead", "ranks"), PAIRS + OTHERS)
def test_a_killed_trainer_goes_on_with_what_it_has_not_trained_on(zygotes, directory, tmp_path, name, workers, ahead, ranks):
    whole = [batch["example_id"].tolist() for batch in itertools.islice(load(directory).batches(BATCH), 2 * STEPS)]
    undisturbed = [[ids[rank * BATCH // ranks : (rank + 1) * BATCH // ranks] for ids in whole] for rank in range(ranks)]
    each = 2 if ahead and name == "huggingface_trainer" else 1  # batches of a step: that trainer fetches as many at once
    chance = random.Random(f"{name} {workers} {ahead} {ranks}")
    runs = Runs(zygotes(name), tmp_path / "run", directory, ["--workers", str(workers), *(["--ahead"] if ahead else [])], ranks)
    before = runs.kill_at(chance.randrange(2, STEPS - EVERY) * each, chance.random() * 0.05)  # before the end, whatever the machine
    done = len(before[0]) // each
    runs.finish()
    after = runs.take("trained")
    first = after[0][0]["step"] if after[0] else STEPS
    assert first in {max(0, (done - 1) // EVERY * EVERY), done // EVERY * EVERY}, "it resumed from the newest checkpoint"
    for rank in range(ranks):
        for began, log in ((0, before[rank]), (first, after[rank])):
            numbers = range(began * each, began * each + len(log))
            assert [line["step"] for line in log] == [number // each for number in numbers]
            assert [line["ids"] for line in log] == [undisturbed[rank][number] for number in numbers]
        assert first * each + len(after[rank]) == STEPS * each
    evaluated = [line for log in runs.take("evaluated") for line in log]
    for step in {line["step"] for line in evaluated if line["step"] > first}:
        ids = sorted(example for line in evaluated if line["step"] == step for example in line["ids"])
        passes = len(ids) // HELD_OUT
        assert passes >= (3 if step == STEPS else 1) and ids == sorted(list(range(HELD_OUT)) * passes), f"step {step}: whole passes"
    one, two = json.loads((tmp_path / "run/losses.json").read_text())
    assert one == two > 0


@pytest.mark.parametrize(("workers", "persistent"), [(0, False), (2, False), (2, True)])
def test_epochs_of_lightning_that_are_limited_go_on_where_the_last_ended(directory, elsewhere, workers, persistent):
    trained, validated = elsewhere(limited_epochs, directory, {"num_workers": workers, "persistent_workers": persistent})
    assert trained == [batch["example_id"].tolist() for batch in itertools.islice(load(directory).batches(BATCH), 15)]
    first = 2 * BATCH  # Lightning's own check before it trains
    assert len(validated) == first + 3 * HELD_OUT
    whole = sorted(range(HELD_OUT))
    assert [sorted(validated[begin : begin + HELD_OUT]) for begin in range(first, len(validated), HELD_OUT)] == [whole] * 3


def lightning_module():
    """A module that notes the ids that it sees, and a maker of quiet trainers."""
    import lightning
    import torch

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.trained, self.validated, self.checkpoint = [], [], None

        def training_step(self, batch, _):
            self.trained.append(batch["example_id"].tolist())
            return self.weight.sum()

        def on_train_batch_end(self, *_):
            if self.global_step == 3 and self.checkpoint is not None:
                self.trainer.save_checkpoint(self.checkpoint)

        def validation_step(self, batch, _):
            self.validated += batch["example_id"].tolist()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    return Module(), functools.partial(lightning.Trainer, accelerator="cpu", **quiet)


def limited_epochs(directory, options):
    """The ids that Lightning trains on in three epochs of five batches of a run without end, and those it validates on."""
    from tokenreel.loaders.to_torch import TorchBatches

    module, quiet = lightning_module()
    held_out = load(directory, "validation").batches(BATCH, epochs=1, drop_remainder=False)
    train = TorchBatches(load(directory).batches(BATCH), **options)
    quiet(max_epochs=3, limit_train_batches=5).fit(module, train, TorchBatches(held_out, **options))
    return module.trained, module.validated


def test_lightning_cannot_add_a_sampler_of_its_own(directory):
    from lightning.pytorch.utilities.data import _update_dataloader

    from tokenreel.loaders.to_torch import TorchBatches

    loader = TorchBatches(load(directory).batches(BATCH, epochs=1, hosts=2, host=0))
    with pytest.raises(ConfigError, match="use_distributed_sampler=False"):
        _update_dataloader(loader, [0, 1])


def test_accelerate_leaves_the_loader_of_a_run_alone(directory):
    import accelerate

    from tokenreel.loaders.to_torch import TorchBatches

    loader = TorchBatches(load(directory).batches(BATCH, epochs=1, hosts=2, host=0))
    assert accelerate.Accelerator(cpu=True).prepare(loader) is loader


@pytest.mark.parametrize("workers", [0, 2])
def test_states_of_torchdata_in_checkpoints_of_others(directory, elsewhere, tmp_path, workers):
    """Lightning, where the loader has a length, and accelerate keep them by themselves, and fetch nothing ahead."""
    expected = [batch["example_id"].tolist() for batch in itertools.islice(load(directory).batches(BATCH), 8)]
    assert elsewhere(kept_by_lightning, directory, tmp_path / "last.ckpt", workers) == (expected[:4], expected[3:])
    assert elsewhere(kept_by_accelerate, directory, tmp_path / "state", workers) == (expected[:3], expected[3:8])


def kept_by_lightning(directory, checkpoint, workers):
    """The ids that Lightning trains on up to a checkpoint in the middle of an epoch, and one more; and after it is loaded."""
    from tokenreel.loaders.to_torch import StatefulTorchBatches

    found = []
    for steps in (4, 8):
        module, quiet = lightning_module()
        module.checkpoint = None if found else checkpoint
        loader = StatefulTorchBatches(load(directory).batches(BATCH, epochs=1), num_workers=workers)
        quiet(max_epochs=1, max_steps=steps).fit(module, loader, ckpt_path=checkpoint if found else None, weights_only=False)
        found.append(module.trained)
    return tuple(found)


def kept_by_accelerate(directory, folder, workers):
    """The ids of batches before accelerate saves its state, and after it is loaded."""
    import accelerate

    from tokenreel.loaders.to_torch import StatefulTorchBatches

    found = []
    for count in (3, 5):
        accelerator = accelerate.Accelerator(cpu=True)
        loader = accelerator.prepare(StatefulTorchBatches(load(directory).batches(BATCH), num_workers=workers))
        if found:
            accelerator.load_state(folder)
        found.append([batch["example_id"].tolist() for batch in itertools.islice(loader, count)])
        accelerator.save_state(folder)
    return tuple(found)

"""What the trainers of this folder share: a small model, its loss, a log of what is trained on, and whole checkpoints."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F

FIELDS = ["inputs", "targets", "loss_weights", "positions", "example_id"]
RANK, RANKS = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))  # as torchrun sets them


def arguments(title: str, argv: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line of a trainer."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("dataset", help="directory of a dataset with the splits train and validation")
    parser.add_argument("folder", type=pathlib.Path, help="for checkpoints and logs; what is there is resumed from")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=8, help="over all processes")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--every", type=int, default=4, help="steps from one checkpoint to the next")
    parser.add_argument("--ahead", action="store_true", help="let the trainer fetch a batch before it has trained on the one before")
    found = parser.parse_args(argv)
    found.folder.mkdir(parents=True, exist_ok=True)
    return found


class Model(torch.nn.Module):
    """A transformer of one layer; its forward gives the summed loss and the summed weights, so that means over batches are exact."""

    def __init__(self, vocabulary: int, length: int, width: int = 16) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.places = torch.nn.Embedding(vocabulary, width), torch.nn.Embedding(length, width)
        self.layer = torch.nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.0, batch_first=True)

    def forward(self, inputs: Any, targets: Any, loss_weights: Any, positions: Any) -> tuple[Any, Any]:
        mask = torch.nn.Transformer.generate_square_subsequent_mask(inputs.shape[1], device=inputs.device)
        hidden = self.layer(self.tokens(inputs) + self.places(positions), src_mask=mask, is_causal=True)
        losses = F.cross_entropy((hidden @ self.tokens.weight.T).flatten(0, 1), targets.flatten().long(), reduction="none")
        weights = loss_weights.flatten().float()
        return (losses * weights).sum(), weights.sum()


def of_model(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Picks what the model reads: the other fields say which examples these are, and where the run stands."""
    return {name: batch[name] for name in ("inputs", "targets", "loss_weights", "positions")}


def record(folder: pathlib.Path, name: str, step: int, batch: Mapping[str, Any]) -> None:
    """Writes down which examples a step is about to use; a row of padding has the id -1."""
    ids = [example for example in batch["example_id"].tolist() if example >= 0]
    with open(folder / f"{name}-{RANK}.jsonl", "a", encoding="utf-8") as log:
        log.write(json.dumps({"step": step, "ids": ids}) + "\n")


def evaluate(model: Any, batches: Iterable[Any], folder: pathlib.Path, step: int) -> float:
    """The mean loss over a whole pass: sums over batches and processes, divided once."""
    total = torch.zeros(2, dtype=torch.float64)
    with torch.no_grad():
        for batch in batches:
            record(folder, "evaluated", step, batch)
            total += torch.stack(model(**of_model(batch))).cpu()
    if RANKS > 1:
        torch.distributed.all_reduce(total)
    return float(total[0] / total[1])


def write_result(folder: pathlib.Path, losses: list[float]) -> None:
    """Writes what the evaluations at the end gave."""
    if RANK == 0:
        (folder / "losses.json").write_text(json.dumps(losses), encoding="utf-8")


def save(folder: pathlib.Path, checkpoint: Mapping[str, Any]) -> None:
    """Writes a checkpoint in one go, under another name first: a process that is killed leaves the one before."""
    if RANK == 0:
        torch.save(dict(checkpoint), folder / "checkpoint.new")
        os.replace(folder / "checkpoint.new", folder / "checkpoint.pt")


def load(folder: pathlib.Path) -> dict[str, Any] | None:
    """Reads the newest checkpoint; None where there is none."""
    path = folder / "checkpoint.pt"
    return torch.load(path, weights_only=False) if path.exists() else None


def finish(checkpoint: pathlib.Path, state: Mapping[str, Any]) -> None:
    """Adds the state of the loader to a folder that a trainer has written; last, so that a folder without it was not finished."""
    if RANK == 0:
        (checkpoint / "loader.new").write_text(json.dumps(state), encoding="utf-8")
        os.replace(checkpoint / "loader.new", checkpoint / "loader.json")


def newest(folder: pathlib.Path) -> tuple[pathlib.Path, int, dict[str, Any]] | None:
    """Finds the newest folder checkpoint-STEP that was finished, its step and the state of its loader; None where there is none."""
    found = [(int(path.parent.name.split("-")[1]), path) for path in folder.glob("checkpoint-*/loader.json")]
    if not found:
        return None
    step, path = max(found)
    return path.parent, step, json.loads(path.read_text(encoding="utf-8"))


def one_ahead(batches: Iterable[Any]) -> Iterator[Any]:
    """Fetches a batch before it hands out the one before, as trainers do that copy to a device meanwhile."""
    iterator = iter(batches)
    batch = next(iterator, None)
    while batch is not None:
        following = next(iterator, None)
        yield batch
        batch = following

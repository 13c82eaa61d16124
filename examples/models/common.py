"""What the examples of this folder share: command lines, datasets, which the commands of tokenreel make, and checkpoints."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any

from examples import demo_corpus
from examples.models import sentences

HERE = pathlib.Path(__file__).parent
TEXTS: dict[str, tuple[Callable[[pathlib.Path], Any], str]] = {  # who writes a text, and the config of its tokenizer
    "corpus": (demo_corpus.write, "tokenizer"),
    "sentences": (sentences.write, "words"),
}


def parser(title: str, steps: int) -> argparse.ArgumentParser:
    """Declares what every example is told."""
    found = argparse.ArgumentParser(description=title)
    found.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("demo/models"), help="for text, datasets and checkpoints")
    found.add_argument("--steps", type=int, default=steps)
    return found


def dataset(name: str, folder: pathlib.Path, *settings: str, text: str = "corpus", output: str = "", build: bool = True) -> str:
    """Builds the dataset of the config NAME.yaml beside this file as `output`, or finds it built, and gives its directory.

    The text and a small vocabulary trained on it are made where they are not in the folder. Of several hosts none builds: they begin once
    one process has made everything.

    Raises:
      SystemExit: a command failed; it has said why.
    """
    directory = folder / (output or name)
    if build:
        write, tokenizer = TEXTS[text]
        path, model = folder / f"{text}.jsonl", folder / tokenizer / "tokenizer.model"
        if not path.exists():
            write(path)
        if not model.exists():
            run("train-tokenizer", HERE / f"{tokenizer}.yaml", "--input", path, "--output", model.parent)
        overrides = [word for setting in (f"vocabulary.path={model.resolve()}", *settings) for word in ("--set", setting)]
        run("build", HERE / f"{name}.yaml", "--input", path, "--output", directory, *overrides)
    return str(directory)


def run(*words: Any) -> None:
    """Runs a command of tokenreel in this process.

    Raises:
      SystemExit: it failed.
    """
    from pipelines import cli  # loads Beam, which a trainer on another machine does without

    if code := cli.main([str(word) for word in words]):
        raise SystemExit(code)


def save(folder: pathlib.Path, model: Any, step: int, state: Mapping[str, Any], *, host: int = 0) -> None:
    """Writes a checkpoint of the model with its optimizer and of whatever `state` holds. It appears whole; then older ones go.

    All hosts call it, since the weights of a distributed model are gathered from all; host 0 writes.
    """
    older, new, target = checkpoints(folder), folder / f"new-{host}", folder / f"checkpoint-{step}"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    model.save(new / "model.keras")
    if host:
        shutil.rmtree(new)
        return
    (new / "state.json").write_text(json.dumps(state), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)  # of the same step, where a run was made anew
    os.rename(new, target)
    for path in older:
        if path != target:
            shutil.rmtree(path)


def restore(folder: pathlib.Path, model: Any) -> dict[str, Any] | None:
    """Gives a compiled model the weights and the optimizer of the newest checkpoint, and returns its state; None where there is none."""
    if not (found := checkpoints(folder)):
        return None
    model.optimizer.build(model.trainable_variables)
    model.load_weights(found[-1] / "model.keras")
    state: dict[str, Any] = json.loads((found[-1] / "state.json").read_text(encoding="utf-8"))
    return state


def checkpoints(folder: pathlib.Path) -> list[pathlib.Path]:
    """Finds the checkpoints of a run, the newest last."""
    return sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))

"""Builds small datasets as a user does and reads them back, and reads the vectors of other people's code."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

import tokenreel
from pipelines import cli

VECTORS = pathlib.Path(__file__).parents[1] / "golden/oracles"
VOCAB_SIZE = 1 << 20  # so that each token of a test's text can be another


def vectors(name: str) -> dict[str, Any]:
    """What `python -m tests.golden.make_oracles` wrote."""
    found: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def name_tokens(sizes: Sequence[int], first: int = 10) -> list[npt.NDArray[np.int64]]:
    """Documents of given sizes in which each token is unlike all others: token t of the stream is `first + t`."""
    return np.split(np.arange(first, first + sum(sizes)), np.cumsum(sizes)[:-1])


def build(folder: pathlib.Path, documents: Sequence[str], packing: dict[str, Any], **settings: Any) -> tokenreel.Dataset:
    """Builds a dataset of documents in the order given, and loads its one split. Nothing is put between documents.

    Documents are token ids between white space, unless `settings` have another vocabulary.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "documents.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    config = {
        "output": str(folder / "dataset"),
        "sources": [{"files": [str(folder / "documents.jsonl")]}],
        "vocabulary": {"kind": "pass_through", "options": {"vocab_size": VOCAB_SIZE, "pad_id": 0, "eos_id": 1}},
        "order": {"mode": "source"},
        "packing": {"add_eos": False, **packing},
        **settings,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert cli.main(["build", str(folder / "config.yaml"), "--direct_num_workers=1"]) == 0
    return tokenreel.load(folder / "dataset", crc="always")


def text(tokens: Sequence[int] | npt.NDArray[Any]) -> str:
    """Writes ids as the text of a document."""
    return " ".join(str(token) for token in tokens)


def rows(dataset: tokenreel.Dataset) -> list[list[int]]:
    """The tokens of every example, in stored order, without padding."""
    examples = [dataset[i] for i in range(len(dataset))]
    return [example["tokens"][: int(example.get("num_tokens", len(example["tokens"])))].tolist() for example in examples]

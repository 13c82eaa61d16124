"""Builds the golden datasets anew, and replays training runs on them: for the tests, and for `make_datasets`, which wrote them.

Everything goes through the commands and `tokenreel.load`, as users of a dataset do; `internals` holds the exceptions.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import itertools
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import tokenreel
from pipelines import cli
from tests import buckets
from tests.golden import internals

ROOT = pathlib.Path(__file__).parents[2]
DATASETS = pathlib.Path(__file__).parent / "datasets"
INPUTS = pathlib.Path(__file__).parent / "inputs"
EXPECTED = "expected.json"
BATCHES = 2  # replayed after each state

# Stage files are named by the place and the version of what they are made of. A file on a disk has a time that nobody can set, an object in
# a bucket has a generation, so the text is read from one.
_FOLDER = f"gs://{buckets.BUCKET}/golden"
GENERATION = 1_700_000_000_000_000

# What a recipe needs to make a small dataset of several shards. A longer example would leave few of them.
_SETTINGS = ("splits.validation=30%", "shards.examples=32", "execution.block_mb=0.02")
_OF_RECIPES = {
    "albert": ("packing.seq_len=128", "objective.max_predictions=20"),
    "bert": (),
    "best_fit": ("packing.seq_len=256",),
    "c4": ("packing.seq_len=64",),
    "characters": (),
    "demo": ("packing.seq_len=128",),
    "electra": (),
    "fim": ("packing.seq_len=256",),
    "gpt2": ("packing.seq_len=128",),
    "roberta": ("packing.seq_len=128", "variants=2"),
    "spanbert": ("packing.seq_len=128",),
    "t5": ("packing.seq_len=128",),
    "tokenizer_json": ("packing.seq_len=128",),
    "ul2": ("packing.seq_len=128",),
}
_OTHER_VOCABULARIES = {"tokenizer_json": "gpt2"}  # pinned beside the recipes: the config of one, with a vocabulary of another kind
_PAGES = ("c4",)  # whose rules leave next to nothing of text that is wrapped
_BPE = ("demo", "gpt2", "fim")  # as the models that read them; the other recipes take unigram models

# Runs whose states are saved. `objective` and `mixture` are made by `run`, the rest goes to `batches`.
_RUNS: Mapping[str, Mapping[str, Any]] = {
    "shuffled": {"batch_size": 8, "seed": 3, "epochs": 2},
    "stored_order": {"batch_size": 8, "shuffle": False, "epochs": 2},
    "two_hosts": {"batch_size": 8, "seed": 3, "hosts": 2, "skip": [[8, 16]]},
    "lanes": {"batch_size": 8, "seed": 3, "lanes": {"lanes": 2, "mix": 2, "block": 2}},
    "mixture": {"batch_size": 8, "seed": 3, "mixture": {"train": 3, "validation": 1}},
}


def recipes() -> list[str]:
    """Names the configs that come with the project, and what is pinned beside them."""
    return sorted([*(path.stem for path in (ROOT / "configs").glob("*.yaml")), *_OTHER_VOCABULARIES])


def _config_path(recipe: str) -> str:
    return str(ROOT / f"configs/{_OTHER_VOCABULARIES.get(recipe, recipe)}.yaml")


def config(recipe: str) -> str:
    """The text of a recipe's config."""
    return pathlib.Path(_config_path(recipe)).read_text(encoding="utf-8")


def vocabulary(recipe: str) -> list[str]:
    """The overrides that give a recipe its committed vocabulary; none for one that needs none."""
    if recipe in _OTHER_VOCABULARIES:
        return ["vocabulary.kind=huggingface", f"vocabulary.path={INPUTS / 'tokenizer.json'}"]
    if recipe == "characters":  # pinned when the recipe read bytes
        return ["vocabulary.kind=bytes", "vocabulary.path=null", "objective.mask_id=2"]
    return [f"vocabulary.path={INPUTS / ('bpe.model' if recipe in _BPE else 'unigram.model')}"]


def text(recipe: str) -> str:
    """Names the file that a recipe reads."""
    return "pages.jsonl" if recipe in _PAGES else "corpus.jsonl"


def settings(recipe: str) -> list[str]:
    """The overrides that make a small dataset, beside that of the vocabulary."""
    return [*_SETTINGS, *_OF_RECIPES[recipe]]


def upload(server: buckets.Server) -> None:
    """Puts the corpus into the bucket, in a generation that is always the same."""
    buckets.upload(INPUTS, _FOLDER)
    for name, found in server.storage.objects[buckets.BUCKET].items():
        if name.endswith(".jsonl"):
            found["generation"] = str(GENERATION)


def build(recipe: str, overrides: Sequence[str], directory: pathlib.Path) -> list[str]:
    """Builds a recipe's dataset from the corpus in the bucket.

    Args:
      recipe: name of a config.
      overrides: as `settings` gives them.
      directory: to write the dataset to.

    Returns:
      the sorted names of the stage files.
    """
    stage = directory.parent / f"{directory.name}.stage"
    command = [
        "build",
        _config_path(recipe),
        "--input",
        f"{_FOLDER}/{text(recipe)}",
        "--output",
        str(directory),
        "--direct_num_workers=1",
    ]
    for setting in (*vocabulary(recipe), f"execution.stage={stage}", *overrides):
        command += ["--set", setting]
    assert cli.main(command) == 0
    return sorted(path.name for path in stage.iterdir())


def shipped(recipe: str) -> dict[str, Any]:
    """What decides the bytes of a dataset of the recipe as it stands in `configs/`."""
    found: dict[str, Any] = as_json(internals.resolve(_config_path(recipe), vocabulary(recipe)))
    return found


def digest_of_build(recipe: str, overrides: Sequence[str]) -> str:
    """The digest by which a build of the small dataset knows itself. The corpus may lie anywhere."""
    resolved = internals.resolve(_config_path(recipe), [*vocabulary(recipe), *overrides], [str(INPUTS / text(recipe))])
    return str(resolved["build"])


def as_json(value: Any) -> Any:
    """The value as a JSON file gives it back."""
    return json.loads(json.dumps(value))


# Training runs.


def runs(directory: pathlib.Path) -> dict[str, dict[str, Any]]:
    """The runs to save states of: the same for all, and one that computes its objective where tokens are stored as they are."""
    dataset = tokenreel.load(directory)
    found = {name: dict(run) for name, run in _RUNS.items()}
    if dataset.manifest.config["objective"]["name"] == "causal_lm":
        manifest, mask_id = dataset.manifest, dataset.vocabulary().find("<mask>")
        objective = {"name": "roberta", "seq_len": manifest.seq_len + manifest.overlap, "mask_id": mask_id}
        found["on_the_fly"] = {"batch_size": 8, "seed": 3, "objective": objective}
    return found


def run(directory: pathlib.Path, given: Mapping[str, Any], *, host: int = 0) -> tokenreel.Batches:
    """Opens a run as a trainer does, with every checksum compared."""
    arguments = dict(given)
    dataset = tokenreel.load(directory, crc="always")
    if (lanes := arguments.pop("lanes", None)) is not None:
        arguments["shuffle"] = tokenreel.Lanes(**lanes)
    if (objective := arguments.pop("objective", None)) is not None:
        arguments["objective"] = dataset.objective(**objective)
    if (weights := arguments.pop("mixture", None)) is not None:
        splits = {split: tokenreel.load(directory, split, crc="always") for split in weights}
        return tokenreel.Mixture(splits, weights).batches(**arguments, host=host, prefetch=0)
    return dataset.batches(**arguments, host=host, prefetch=0)


def states(directory: pathlib.Path, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Saves the states of a run near its beginning, and where the batches that follow hold the end of its first epoch."""
    epoch = len(tokenreel.load(directory)) // given["batch_size"]
    found = []
    for delivered in (1, epoch - 1):
        batches = run(directory, given)
        for _ in itertools.islice(batches, delivered):
            pass
        found.append(as_json(batches.get_state()))
    return found


def replay(directory: pathlib.Path, given: Mapping[str, Any], state: Mapping[str, Any]) -> list[list[str]]:
    """Restores a state in a new run; gives the digests of the batches that follow, for each host."""
    found = []
    for host in range(given.get("hosts", 1)):
        batches = run(directory, given, host=host)
        batches.set_state(state)
        found.append([digest(batch) for batch in itertools.islice(batches, BATCHES)])
    return found


def digest(batch: Mapping[str, npt.NDArray[Any]]) -> str:
    """A hash of the names, types, shapes and values of a batch."""
    found = hashlib.sha256()
    for name, values in sorted(batch.items()):
        found.update(f"{name} {values.dtype.str} {values.shape} ".encode() + np.ascontiguousarray(values).tobytes())
    return found.hexdigest()[:32]


# What the files hold.


def libraries() -> dict[str, str]:
    """The libraries whose names or bytes are in files of a dataset: a Parquet file says which release of Arrow wrote it."""
    return {"pyarrow": importlib.metadata.version("pyarrow"), "tokenreel": tokenreel.__version__}


def files_of(directory: pathlib.Path) -> Iterator[str]:
    """Names the files of a dataset."""
    yield from sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())

"""Pretrains three towers on one embedder, puts all on a shelf, and composes them in another process for a task of its own (cclm).

    python -m examples.characters.composed

The embedder learns with the first tower, which guesses hidden characters, and stays as it is from then on. The second tower tells which
package a docstring is from, the third which of two docstrings belongs to the same class or module. The process that composes them knows
nothing but the shelf: on the frozen composition it learns to tell three other packages apart.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

import tokenreel
from examples import demo_corpus
from examples.characters import layers, pretraining
from examples.models import common
from tokenreel.loaders.to_keras import KerasBatches
from tokenreel.shelf import Shelf
from tokenreel.vocabularies import character_fitting

HERE = pathlib.Path(__file__).parent
PACKAGES, OTHERS = ["asyncio", "email", "tkinter"], ["http", "logging", "xml"]
LABEL = "label_package"
PARTS = ("embedder", "masked_characters", "classes", "links")


def write_documents(path: pathlib.Path, packages: Sequence[str]) -> list[tuple[str, str]]:
    """Writes the docstrings of some packages as JSON lines, and gives the edges between them: from a thing to the one that holds it."""
    found = [
        {"id": name, "package": module.partition(".")[0], "text": text}
        for name, module, text in demo_corpus.documents(pathlib.Path(sysconfig.get_path("stdlib")))
        if module.partition(".")[0] in packages and len(text) >= demo_corpus.MIN_CHARACTERS
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in found), encoding="utf-8")
    names = {each["id"] for each in found}
    return [(name, holder) for name in sorted(names) if (holder := name.rpartition(".")[0]) in names]


def dataset(name: str, folder: pathlib.Path, documents: str, *settings: str, output: str = "") -> str:
    """Builds the dataset of the config NAME.yaml as `output`, or finds it built, and gives its directory."""
    characters, made = folder / "characters.json", folder / (output or name)
    if not characters.exists():
        with (folder / documents).open(encoding="utf-8") as lines:
            character_fitting.fit(map(json.loads, lines), characters, min_count=5, specials=["<mask>"])
    overrides = [word for setting in (f"vocabulary.path={characters.resolve()}", *settings) for word in ("--set", setting)]
    common.run("build", HERE / f"{name}.yaml", "--input", folder / documents, "--output", made, *overrides)
    return str(made)


def pretrain(folder: pathlib.Path, steps: int) -> dict[str, Any]:
    """Trains embedder and towers, and pushes them onto the shelf of the folder."""
    edges = write_documents(folder / "documents.jsonl", PACKAGES)
    masked = tokenreel.load(dataset("masked", folder, "documents.jsonl"))
    documents = dataset("documents", folder, "documents.jsonl")
    train, held_out = tokenreel.load(documents), tokenreel.load(documents, "validation")
    vocab_size = masked.manifest.vocabulary.vocab_size

    keras.utils.set_random_seed(0)
    embedder = layers.embedder(vocab_size)
    guessing = pretraining.MaskedCharacters(embedder, vocab_size)
    losses = {"masked_characters": guessing.train(masked, steps=steps)}
    embedder.trainable = False
    telling = pretraining.Classes(embedder, LABEL, len(PACKAGES))
    losses["classes"] = telling.train(train, steps=steps)
    linking = pretraining.Links(embedder, edges)
    losses["links"] = linking.train(train, steps=steps)
    for name, found in losses.items():
        print(f"{name}: loss {found[0]:.3f} to {found[-1]:.3f}")
    (linked, edges_held_out), told = linking.accuracy(held_out), telling.accuracy(held_out)
    print(f"held-out documents: {told:.1%} of the packages; {linked:.1%} of {edges_held_out:,} links go before a pair drawn at random")

    for trained in (guessing, telling):
        trained.model.save(folder / f"{trained.name}-with-head.keras")  # for `distilled`
    shelf = Shelf(folder / "shelf")
    for name, part in zip(PARTS, (embedder, guessing.tower, telling.tower, linking.tower), strict=True):
        part.save(folder / f"{name}.keras")
        print(f"{name}: {shelf.push(folder / f'{name}.keras', 'docstrings', name).digest}")
    return {"losses": losses, "classes": told, "links": linked}


def fetch(folder: pathlib.Path) -> list[Any]:
    """Takes the embedder and the towers from the shelf."""
    shelf, cache = Shelf(folder / "shelf"), folder / "cache"
    return [layers.load(f"{shelf.fetch('docstrings', name, cache_dir=cache)}/{name}.keras") for name in PARTS]


def compose(folder: pathlib.Path, steps: int) -> dict[str, Any]:
    """Composes what is on the shelf, and trains a classifier of other packages on top, which changes nothing of it."""
    write_documents(folder / "others.jsonl", OTHERS)
    found = dataset("documents", folder, "others.jsonl", f"sources.0.label_fields.package={json.dumps(OTHERS)}", output="others")
    train, held_out = tokenreel.load(found), tokenreel.load(found, "validation")
    keras.utils.set_random_seed(0)
    embedder, *towers = fetch(folder)
    composed = layers.compose(embedder, towers)
    before = [ops.convert_to_numpy(weight) for weight in composed.weights]
    x = {name: composed.input[name] for name in ("token_ids", "segment_ids")}
    pooled = keras.layers.GlobalAveragePooling1D()(composed.output, mask=x["segment_ids"] > 0)
    model = keras.Model(x, keras.layers.Dense(len(OTHERS))(keras.layers.LayerNormalization()(pooled)))
    model.compile(keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])

    def batches(dataset: Any, **order: Any) -> Any:
        fields = dataset.batches(32, features=["tokens", "segment_ids", LABEL], rename=pretraining.READ, **order)
        return KerasBatches(fields, model, targets=LABEL, weights=None)

    model.fit(batches(train, seed=0), steps_per_epoch=steps, shuffle=False, verbose=0)
    score = model.evaluate(batches(held_out, shuffle=False, epochs=1, drop_remainder=False), verbose=0, return_dict=True)["accuracy"]
    labels = held_out.take(np.arange(len(held_out)), [LABEL])[LABEL]
    largest = float(np.bincount(labels).max() / len(labels))
    changed = sum(not np.array_equal(old, ops.convert_to_numpy(new)) for old, new in zip(before, composed.weights, strict=True))
    print(f"the composition gives {composed(x_of_one(1)).shape[1:]} for one character, and {changed} of its {len(before)} weights changed")
    print(f"other packages: {score:.1%} of the held-out documents, where the largest class has {largest:.1%}")
    return {"accuracy": score, "largest": largest, "changed": changed}


def x_of_one(length: int) -> dict[str, Any]:
    """Makes the input of one document of so many characters."""
    return {"token_ids": np.ones((1, length), np.int32), "segment_ids": np.ones((1, length), np.int32)}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("demo/characters"), help="for text, datasets and the shelf")
    parser.add_argument("--steps", type=int, default=300, help="of each training")
    parser.add_argument("--compose", action="store_true", help="only compose what is on the shelf")
    options = parser.parse_args(argv)
    if options.compose:
        return compose(options.folder, options.steps)
    found = pretrain(options.folder, options.steps)
    command = [
        sys.executable,
        "-m",
        "examples.characters.composed",
        "--compose",
        "--folder",
        str(options.folder),
        "--steps",
        str(options.steps),
    ]
    subprocess.run(command, check=True)
    return found


if __name__ == "__main__":
    main()

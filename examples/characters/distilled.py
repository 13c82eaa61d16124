"""Trains small students on what the towers of `composed` say, which `tokenreel extract-features` wrote down once.

    python -m examples.characters.composed
    python -m examples.characters.distilled

One student learns the logits of the tower that guesses hidden characters, position by position, which lie beside the examples. The other
learns what the tower of packages makes of whole documents: it reads a dataset of its own, shorter and in another order, so what the teacher
said is found by the documents' ids, and it is trained under the teacher's frozen head.
"""

from __future__ import annotations

import argparse
import hashlib
import pathlib
from typing import Any

import keras
import numpy as np
from keras import ops

import tokenreel
from examples.characters import composed, layers, pretraining
from examples.models import common
from tokenreel.loaders.to_keras import KerasBatches

SMALL = {"width": 24}
TOP_K = 16


def teacher(folder: pathlib.Path, name: str) -> pathlib.Path:
    """Says where `composed` saved a tower with its embedder and its head."""
    return folder.resolve() / f"{name}-with-head.keras"


def digest(path: pathlib.Path) -> str:
    """Names the contents of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def extract(folder: pathlib.Path, name: str, dataset: str, *settings: str) -> str:
    """Writes what a teacher says of a dataset, or finds it written, and gives the directory."""
    output = folder / f"said-by-{name}"
    # The function travels to the workers with its module, so with the layers; they find no module of this folder.
    path = teacher(folder, name)
    model = ("model.build=examples.characters.layers:load", f"model.arguments.path={path}", f"model.version={digest(path)}")
    words = [word for setting in (*model, *settings) for word in ("--set", setting)]
    common.run("extract-features", "--dataset", dataset, "--output", output, *words)
    return str(output)


def distill_logits(folder: pathlib.Path, steps: int) -> dict[str, Any]:
    """Trains a student on the teacher's largest logits at every position."""
    path = composed.dataset("masked", folder, "documents.jsonl")
    said = extract(
        folder, "masked_characters", path, "targets=sequence", "target_fields=[targets, target_weights]", f"logits.top_k={TOP_K}"
    )
    plain = tokenreel.load(path)
    train, vocab_size = plain.with_features(said), plain.manifest.vocabulary.vocab_size
    student = pretraining.MaskedCharacters(layers.embedder(vocab_size, **SMALL), vocab_size, **SMALL)
    student.model.compile(
        keras.optimizers.Adam(2e-3), keras.losses.CategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
    )
    fields = [*student.features, "topk_ids", "topk_values"]
    batches = train.batches(16, seed=0, features=fields, rename=pretraining.READ)

    def probabilities(batch: Any) -> np.ndarray:
        """Spreads the teacher's largest logits over all characters, as shares of 1: float32 [batch, length, vocabulary]."""
        shares = np.zeros((*batch["token_ids"].shape, vocab_size), np.float32)
        values = batch["topk_values"].astype(np.float32)
        powers = np.exp(values - values.max(axis=-1, keepdims=True))
        np.put_along_axis(shares, batch["topk_ids"], powers / powers.sum(axis=-1, keepdims=True), axis=-1)
        return shares

    data = KerasBatches(batches, student.model, targets=probabilities, weights="target_weights")
    student.model.fit(data, steps_per_epoch=steps, shuffle=False, verbose=0)
    held_out, model = tokenreel.load(path, "validation"), layers.load(teacher(folder, "masked_characters"))
    return {"teacher": agreement(model, held_out), "student": agreement(student.model, held_out)}


def agreement(model: Any, dataset: Any) -> float:
    """Gives the share of a dataset's hidden characters that a model guesses."""
    found = dataset.take(np.arange(len(dataset)), ["tokens", "segment_ids", "targets", "target_weights"])
    guesses = model.predict({"token_ids": found["tokens"], "segment_ids": found["segment_ids"]}, verbose=0).argmax(axis=-1)
    return float((guesses == found["targets"])[found["target_weights"] > 0].mean())


def distill_documents(folder: pathlib.Path, steps: int) -> dict[str, Any]:
    """Trains a student whose vectors of documents the teacher's head is to read as it reads the teacher's."""
    path = composed.dataset("documents", folder, "documents.jsonl")
    said = extract(
        folder, "classes", path, "head.kind=none", "logits.logprobs=false", "layers=[{name: classes, pool: first, dtype: float32}]"
    )
    vectors: dict[str, np.ndarray] = {}
    whole = tokenreel.load(path).with_features(said)
    for number, documents in enumerate(whole.documents(np.arange(len(whole)))):
        vectors[documents[0]["doc_id"]] = whole[number]["layer.classes"]

    short = composed.dataset("documents", folder, "documents.jsonl", "packing.seq_len=96", "seed=1", output="short")
    train, held_out = tokenreel.load(short), tokenreel.load(short, "validation")
    model, vocab_size = layers.load(teacher(folder, "classes")), whole.manifest.vocabulary.vocab_size
    head = model.get_layer("head")
    head.trainable = False
    small = layers.embedder(vocab_size, **SMALL)
    student = pretraining.Classes(small, composed.LABEL, len(composed.PACKAGES), width=model.get_layer("classes").output.shape[-1])
    body = layers.compose(small, [student.tower], frozen=False)
    student.model = keras.Model(body.input, head(body.output[:, 0]))
    student.model.compile(keras.optimizers.Adam(1e-3), keras.losses.CategoricalCrossentropy(from_logits=True))
    before = [ops.convert_to_numpy(weight) for weight in head.weights]
    names = [documents[0]["doc_id"] for documents in train.documents(np.arange(len(train)))]
    known = np.array([name in vectors for name in names])  # the two datasets hold out the same documents, whatever their lengths
    wanted = ops.softmax(head(np.stack([vectors[name] for name in names])))
    batches = train.batches(16, seed=0, features=["tokens", "segment_ids", "example_id"], rename=pretraining.READ)
    data = KerasBatches(batches, student.model, targets=lambda batch: np.asarray(wanted)[batch["example_id"]], weights=None)
    student.model.fit(data, steps_per_epoch=steps, shuffle=False, verbose=0)
    changed = sum(not np.array_equal(old, ops.convert_to_numpy(new)) for old, new in zip(before, head.weights, strict=True))
    return {"joined": int(known.sum()), "changed": changed, "student": student.accuracy(held_out)}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("demo/characters"), help="where `composed` left its towers")
    parser.add_argument("--steps", type=int, default=300, help="of each student")
    options = parser.parse_args(argv)
    keras.utils.set_random_seed(0)
    characters, documents = distill_logits(options.folder, options.steps), distill_documents(options.folder, options.steps)
    print(f"hidden characters: the teacher guesses {characters['teacher']:.1%}, the student {characters['student']:.1%}")
    print(f"documents: {documents['joined']:,} joined by id; the student tells {documents['student']:.1%} of the held-out packages")
    return {"characters": characters, "documents": documents}


if __name__ == "__main__":
    main()

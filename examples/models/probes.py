"""Asks each layer of the RoBERTa that `masked_lm` trained what it knows of the order of words and of their meaning.

    python -m examples.models.probes    # or step by step: probes.ipynb

A probe is a linear classifier on a layer's outputs. One reads their mean over a sentence and tells whether two neighbouring words changed
places; the other reads the output at the first word, "the", and tells which of four subjects the sentence is about. The sentences are new,
and a part of them is held out from the probes.
"""

from __future__ import annotations

import pathlib
from typing import Any

import jax
import keras
import keras_hub
import numpy as np

import tokenreel
from examples.models import common, masked_lm, sentences

COUNT, TRAINED_ON = 4000, 3000


def trained(folder: pathlib.Path) -> tuple[Any, Any]:
    """Gives the backbone that `masked_lm` trained, and the dataset that it learned from."""
    dataset = tokenreel.load(folder / "roberta_plain")
    model = masked_lm.roberta(dataset.manifest.vocabulary.vocab_size, dataset.manifest.seq_len)
    common.restore(folder / "trained/dynamic", model)
    (body,) = (layer for layer in model.layers if isinstance(layer, keras_hub.models.RobertaBackbone))
    return body, dataset


def layers_of(body: Any) -> Any:
    """Makes the functional model of a backbone whose outputs are those of every layer, the embeddings first."""
    names = ["embeddings_dropout", *(f"transformer_layer_{number}" for number in range(body.num_layers))]
    return keras.Model(body.input, [body.get_layer(name).output for name in names])


def swapped(texts: list[str], seed: int) -> tuple[list[str], np.ndarray]:
    """Exchanges two neighbouring words of every other sentence; gives the sentences, and 1 where words changed places: int64 [n]."""
    random, found = np.random.default_rng(seed), []
    for number, text in enumerate(texts):
        words = text.split()
        if number % 2:
            place = random.integers(len(words) - 2)
            words[place], words[place + 1] = words[place + 1], words[place]
        found.append(" ".join(words))
    return found, np.arange(len(texts)) % 2


def outputs(model: Any, vocabulary: Any, texts: list[str], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Gives what each layer makes of each text: the mean over its tokens and the output at the first, float32 [n, layers, width] each."""
    tokens, real = np.zeros((len(texts), length), np.int32), np.zeros((len(texts), length), np.int32)
    for row, ids in enumerate(map(vocabulary.encode, texts)):
        tokens[row, : len(ids)], real[row, : len(ids)] = ids, 1
    found = model.predict({"token_ids": tokens, "padding_mask": real}, batch_size=500, verbose=0)
    means = [(each * real[..., None]).sum(axis=1) / real.sum(axis=1, keepdims=True) for each in found]
    return np.stack(means, axis=1), np.stack([each[:, 0] for each in found], axis=1)


def probe(features: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Trains a linear classifier on a mix of layers whose shares it learns as well.

    Args:
      features: float32 [n, layers, width]; with one layer there is nothing to mix.
      labels: int [n].

    Returns:
      the accuracy on what was not trained on, and the share of each layer.
    """
    mean, deviation = features[:TRAINED_ON].mean(axis=0), features[:TRAINED_ON].std(axis=0) + 1e-6
    values, right = (features - mean) / deviation, np.eye(labels.max() + 1, dtype=np.float32)[labels]

    def logits(parameters: Any, values: Any) -> Any:
        mixed = jax.numpy.einsum("k,nkd->nd", jax.nn.softmax(parameters["shares"]), values)
        return mixed @ parameters["weights"] + parameters["bias"]

    def loss(parameters: Any) -> Any:
        found = jax.nn.log_softmax(logits(parameters, values[:TRAINED_ON]))
        return -(found * right[:TRAINED_ON]).sum(axis=-1).mean() + 1e-4 * (parameters["weights"] ** 2).sum()

    def step(_: int, parameters: Any) -> Any:
        return jax.tree.map(lambda value, gradient: value - 0.5 * gradient, parameters, jax.grad(loss)(parameters))

    _, layers, width = features.shape
    begin = {"shares": np.zeros(layers, np.float32), "weights": np.zeros((width, right.shape[1]), np.float32)}
    trained = jax.jit(lambda begin: jax.lax.fori_loop(0, 1000, step, begin))(begin | {"bias": np.zeros(right.shape[1], np.float32)})
    found = np.asarray(logits(trained, values[TRAINED_ON:])).argmax(axis=-1)
    return float((found == labels[TRAINED_ON:]).mean()), np.asarray(jax.nn.softmax(trained["shares"]))


def plot(accuracies: dict[str, list[float]]) -> str:
    """Draws the accuracy of each probe by layer, as SVG."""
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 420 260" font-family="sans-serif" font-size="12">']
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = 220 - 200 * share
        parts.append(f'<path d="M40 {y}H340" stroke="#ddd"/><text x="34" y="{y + 4}" text-anchor="end">{share:.0%}</text>')
    for number, (name, values) in enumerate(accuracies.items()):
        colour = ("#1f77b4", "#d62728")[number % 2]
        points = [(40 + 300 * layer / (len(values) - 1), 220 - 200 * value) for layer, value in enumerate(values)]
        line = " ".join(f"{x:.0f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="346" y="{points[-1][1] + 4:.0f}" fill="{colour}">{name}</text>')
        parts += [f'<text x="{x:.0f}" y="238" text-anchor="middle">{layer}</text>' for layer, (x, _) in enumerate(points) if not number]
    return "\n".join([*parts, '<text x="190" y="256" text-anchor="middle">layer; 0 is the embeddings</text>', "</svg>"])


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Runs the command."""
    options = common.parser((__doc__ or "").splitlines()[0], steps=500).parse_args(argv)
    if not common.checkpoints(options.folder / "trained/dynamic"):
        masked_lm.main(["--folder", str(options.folder), "--steps", str(options.steps)])
    body, dataset = trained(options.folder)
    layers, vocabulary = layers_of(body), dataset.vocabulary()
    texts, subjects = sentences.sentences(COUNT, seed=1)
    mixed_up, changed = swapped(texts, seed=2)
    length = dataset.manifest.seq_len
    asked = {
        "word order": (outputs(layers, vocabulary, mixed_up, length)[0], changed),
        "meaning": (outputs(layers, vocabulary, texts, length)[1], subjects),
    }
    results: dict[str, Any] = {}
    for name, (features, labels) in asked.items():
        accuracies = [probe(features[:, [layer]], labels)[0] for layer in range(features.shape[1])]
        mixed, shares = probe(features, labels)
        best = int(np.argmax(accuracies))
        results[name] = {"accuracies": accuracies, "best": best, "mix": mixed}
        print(f"{name}: " + ", ".join(f"layer {layer} {value:.1%}" for layer, value in enumerate(accuracies)))
        print(f"{name}: best is layer {best}; the last layer {accuracies[-1]:.1%}, a learned mix of all {mixed:.1%}")
        print(f"{name}: the mix takes of each layer " + ", ".join(f"{share:.0%}" for share in shares))
    path = options.folder / "probes.svg"
    path.write_text(plot({name: found["accuracies"] for name, found in results.items()}), encoding="utf-8")
    print(f"{path}: accuracy by layer")
    return results


if __name__ == "__main__":
    main()

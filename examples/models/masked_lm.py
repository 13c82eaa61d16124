"""Trains keras-hub's RoBERTa on masks that the build made and on masks that the loader makes, and BERT on pairs of segments.

python -m examples.models.masked_lm --steps 500
"""

from __future__ import annotations

from typing import Any

import keras
import keras_hub
import numpy as np

import tokenreel
from examples.models import common
from tokenreel.loaders.to_keras import KerasBatches

SIZES = {"num_layers": 4, "num_heads": 2, "hidden_dim": 64, "intermediate_dim": 256, "dropout": 0.0}
FIELDS = ["tokens", "padding_mask", "mask_positions", "mask_ids", "mask_weights"]
NAMES = {"tokens": "token_ids"}  # the rest is called as keras-hub calls it


def roberta(vocab_size: int, seq_len: int) -> Any:
    """Makes a small RoBERTa with the head of a masked language model, always the same."""
    keras.utils.set_random_seed(0)
    body = keras_hub.models.RobertaBackbone(vocabulary_size=vocab_size, max_sequence_length=seq_len, **SIZES)
    return compiled(keras_hub.models.RobertaMaskedLM(backbone=body, preprocessor=None))


def bert(vocab_size: int, seq_len: int) -> Any:
    """Makes a small BERT with the head of a masked language model, always the same."""
    keras.utils.set_random_seed(0)
    body = keras_hub.models.BertBackbone(vocabulary_size=vocab_size, max_sequence_length=seq_len, **SIZES)
    return compiled(keras_hub.models.BertMaskedLM(backbone=body, preprocessor=None))


def compiled(task: Any) -> Any:
    """Makes a model of a task's layers and compiles it; the loss is the mean over the slots in use.

    `fit` of keras-hub's own classes takes arrays, `tf.data` and Grain, and no PyDataset.
    """
    model = keras.Model(task.input, task.output)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
    found = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    model.compile(keras.optimizers.Adam(1e-3), loss, weighted_metrics=[found])
    return model


def train(model: Any, batches: Any, steps: int) -> list[float]:
    """Trains a model on a run, and gives the loss of each step."""
    data = KerasBatches(batches, model, targets="mask_ids", weights="mask_weights")
    history = model.fit(data, steps_per_epoch=1, epochs=steps, shuffle=False, verbose=0)
    losses: list[float] = history.history["loss"]
    return losses


def evaluate(model: Any, held_out: Any, features: list[str]) -> float:
    """Gives the share of masked tokens of a split that a model finds."""
    once = held_out.batches(32, shuffle=False, epochs=1, drop_remainder=False, features=features, rename=NAMES)
    data = KerasBatches(once, model, targets="mask_ids", weights="mask_weights")
    return float(model.evaluate(data, verbose=0, return_dict=True)["accuracy"])


def commonest(held_out: Any) -> float:
    """Gives the share of masked tokens that whoever always says the commonest would find."""
    batch = held_out.take(np.arange(len(held_out)), ["mask_ids", "mask_weights"])
    counts = np.bincount(batch["mask_ids"][batch["mask_weights"] > 0])
    return float(counts.max() / counts.sum())


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Runs the command."""
    options = common.parser(__doc__.splitlines()[0], steps=500).parse_args(argv)
    masked = tokenreel.load(common.dataset("roberta", options.folder, text="sentences"))
    plain = tokenreel.load(
        common.dataset("roberta", options.folder, "objective.name=causal_lm", "variants=1", text="sentences", output="roberta_plain")
    )
    pairs = tokenreel.load(common.dataset("bert", options.folder, text="sentences"))
    sizes = masked.manifest.vocabulary.vocab_size, masked.manifest.seq_len
    runs = {
        "static": (roberta, masked.batches(32, seed=0, features=FIELDS, rename=NAMES)),
        "dynamic": (roberta, plain.batches(32, seed=0, objective=plain.objective("roberta"), features=FIELDS, rename=NAMES)),
        "bert": (bert, pairs.batches(32, seed=0, features=[*FIELDS, "segment_ids"], rename=NAMES)),
    }
    results: dict[str, Any] = {}
    for name, (make, batches) in runs.items():
        model = make(*sizes)
        losses = train(model, batches, options.steps)
        held_out = tokenreel.load((pairs if name == "bert" else masked).path, "validation")
        accuracy = evaluate(model, held_out, [*FIELDS, "segment_ids"] if name == "bert" else FIELDS)
        results[name] = {"losses": losses, "accuracy": accuracy, "commonest": commonest(held_out)}
        print(
            f"{name}: loss {losses[0]:.2f} at first, {np.mean(losses[-10:]):.2f} at last; {accuracy:.1%} of the held-out masked tokens "
            f"found, the commonest are {results[name]['commonest']:.1%}",
            flush=True,
        )
        common.save(options.folder / "trained" / name, model, len(losses), {})
    return results


if __name__ == "__main__":
    main()

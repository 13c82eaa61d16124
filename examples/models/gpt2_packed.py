"""Trains GPT-2's layers on packed examples whose documents do not see each other, and compares with documents that stand alone.

    python -m examples.models.gpt2_packed --steps 100

The backbone of keras-hub takes token ids and a padding mask, so in a packed example each document reads those before it. The same layers,
called with the loader's segment ids and positions, keep documents apart.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

import tokenreel
from examples.models import common
from examples.models.gpt2 import backbone, language_model
from tokenreel.loaders.to_keras import KerasBatches


def apart(body: Any) -> Any:
    """Makes a model of a GPT-2 backbone's layers in which a position reads its own document alone, with the tied head."""
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "segment_ids", "positions")}
    segments = inputs["segment_ids"]
    own = keras.ops.equal(segments[:, :, None], segments[:, None, :])  # [batch, length, length]; the layers add what is causal
    embedded = body.token_embedding(inputs["token_ids"])
    x = body.embeddings_add((embedded, body.position_embedding(embedded, positions=inputs["positions"])))
    x = body.embeddings_dropout(x)
    for layer in body.transformer_layers:
        x = layer(x, decoder_attention_mask=own)
    return keras.Model(inputs, body.token_embedding(body.layer_norm(x), reverse=True))


def compare(packed: Any, separate: Any, batch: dict[str, np.ndarray]) -> tuple[float, float]:
    """Gives the largest difference between logits of documents in packed examples and of documents that stand alone.

    Args:
      packed: the model of `apart`.
      separate: keras-hub's functional model with the tied head, on the same layers.
      batch: `token_ids`, `segment_ids`, `positions` and `padding_mask`, int32 [n, L].

    Returns:
      the difference for `packed`, and the one for keras-hub's model where it reads the packed example.
    """
    together = packed.predict_on_batch({name: batch[name] for name in ("token_ids", "segment_ids", "positions")})
    unaware = separate.predict_on_batch({name: batch[name] for name in ("token_ids", "padding_mask")})
    # Each document becomes a row, from its first position on.
    documents = [(row, number) for row, ids in enumerate(batch["segment_ids"]) for number in range(1, ids.max() + 1)]
    alone = {name: np.zeros((len(documents), batch["token_ids"].shape[1]), np.int32) for name in ("token_ids", "padding_mask")}
    for place, (row, number) in enumerate(documents):
        here = batch["segment_ids"][row] == number
        alone["token_ids"][place, : here.sum()] = batch["token_ids"][row, here]
        alone["padding_mask"][place, : here.sum()] = 1
    found = separate.predict_on_batch(alone)
    differences = np.zeros(2)
    for place, (row, number) in enumerate(documents):
        here = batch["segment_ids"][row] == number
        expected = found[place, : here.sum()]
        differences = np.maximum(differences, [np.abs(each[row, here] - expected).max() for each in (together, unaware)])
    return float(differences[0]), float(differences[1])


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Runs the command."""
    options = common.parser(__doc__.splitlines()[0], steps=100).parse_args(argv)
    train = tokenreel.load(common.dataset("packed", options.folder))
    body = backbone(train.manifest.vocabulary.vocab_size, train.manifest.seq_len)
    separate, packed = language_model(body), apart(body)
    packed.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight"))

    fields = ["inputs", "targets", "loss_weights", "segment_ids", "positions", "padding_mask"]
    batches = train.batches(16, seed=0, features=fields, rename={"inputs": "token_ids"})
    history = packed.fit(KerasBatches(batches, packed), steps_per_epoch=1, epochs=options.steps, shuffle=False, verbose=0)
    losses = history.history["loss"]

    batch = next(tokenreel.load(train.path, "validation").batches(64, shuffle=False, features=fields, rename={"inputs": "token_ids"}))
    ours, unaware = compare(packed, separate, batch)
    print(f"loss {losses[0]:.3f} at first, {losses[-1]:.3f} after {len(losses)} steps")
    print(f"{int(batch['segment_ids'].max(axis=1).sum())} documents in {len(batch['token_ids'])} examples")
    print(f"logits in a packed example and alone differ by {ours:.1e} at most; where documents read each other, by {unaware:.1e}")
    return {"losses": losses, "apart": ours, "together": unaware}


if __name__ == "__main__":
    main()

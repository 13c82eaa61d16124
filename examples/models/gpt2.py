"""Trains keras-hub's GPT-2 on wrapped examples, in one process or in several, and generates text.

    python -m examples.models.gpt2 --steps 200

It may be killed at any time; the same command goes on where the last checkpoint was, on any number of hosts. Two of them:

    python -m examples.models.gpt2 --hosts 2 --host 0 --address 127.0.0.1:1234 &
    python -m examples.models.gpt2 --hosts 2 --host 1 --address 127.0.0.1:1234
"""

from __future__ import annotations

from typing import Any

import keras
import keras_hub
import numpy as np

import tokenreel
from examples.models import common
from tokenreel.loaders.to_keras import KerasBatches

FIELDS = {"inputs": "token_ids"}  # the rest is called as keras-hub calls it


def backbone(vocab_size: int, seq_len: int) -> Any:
    """Makes a small GPT-2 of random weights, always the same."""
    keras.utils.set_random_seed(0)
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 64, "intermediate_dim": 256, "max_sequence_length": seq_len}
    return keras_hub.models.GPT2Backbone(vocabulary_size=vocab_size, dropout=0.0, **sizes)


def language_model(backbone: Any) -> Any:
    """Puts the tied head on a backbone: what is read from the embedding is also what the last layer is compared with."""
    logits = backbone.token_embedding(backbone.output, reverse=True)  # [batch, length, vocabulary]
    model = keras.Model(backbone.input, logits)
    # Keras divides by all positions unless it is told to divide by the weights.
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
    model.compile(keras.optimizers.Adam(1e-3), loss)
    return model


def generate(model: Any, prompt: np.ndarray, length: int) -> np.ndarray:
    """Continues [n, k] prompts to [n, length] tokens, each the likeliest."""
    tokens = np.zeros((len(prompt), length), np.int32)
    tokens[:, : prompt.shape[1]] = prompt
    for position in range(prompt.shape[1], length):
        padding_mask = np.broadcast_to(np.arange(length) < position, tokens.shape).astype(np.int32)
        logits = model.predict_on_batch({"token_ids": tokens, "padding_mask": padding_mask})
        tokens[:, position] = logits[:, position - 1].argmax(axis=-1)
    return tokens


def compare(body: Any, model: Any, held_out: Any) -> dict[str, Any]:
    """Compares the model with keras-hub's own on the same backbone: logits, and what both make of the first words of held-out text."""
    task = keras_hub.models.GPT2CausalLM(backbone=body, preprocessor=None)
    task.compile(sampler="greedy")
    x = held_out.take(np.arange(4), ["inputs", "padding_mask"])
    x["token_ids"] = x.pop("inputs")
    difference = float(np.abs(model.predict_on_batch(x) - task.predict_on_batch(x)).max())
    length, known = x["token_ids"].shape[1], 16
    made = generate(model, x["token_ids"][:, :known], length)
    x["padding_mask"] = np.broadcast_to(np.arange(length) < known, x["padding_mask"].shape)
    expected = np.asarray(task.generate(x, max_length=length, stop_token_ids=None)["token_ids"])
    vocabulary = held_out.vocabulary()
    print(f"{vocabulary.decode(made[0, :known].tolist())!r} goes on with {vocabulary.decode(made[0, known:].tolist())!r}")
    print(f"logits of the tied head and of GPT2CausalLM differ by {difference:g} at most")
    print(f"greedy tokens that are those of GPT2CausalLM: {(made == expected)[:, known:].sum()} of {made[:, known:].size}")
    return {"difference": difference, "same_tokens": bool((made == expected).all())}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Runs the command."""
    parser = common.parser(__doc__.splitlines()[0], steps=200)
    parser.add_argument("--preset", help="directory or name of a preset of keras-hub, whose vocabulary is the dataset's")
    parser.add_argument("--batch-size", type=int, default=16, help="over all hosts")
    parser.add_argument("--every", type=int, default=50, help="steps from one checkpoint to the next")
    parser.add_argument("--run", default="run", help="name of the run, whose checkpoint is resumed from")
    parser.add_argument("--hosts", type=int, default=1)
    parser.add_argument("--host", type=int, default=0)
    parser.add_argument("--address", help="of host 0, where there are several")
    options = parser.parse_args(argv)
    if options.hosts > 1:
        keras.distribution.initialize(options.address, options.hosts, options.host)
        keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    train = tokenreel.load(common.dataset("gpt2", options.folder, build=options.hosts == 1))
    seq_len, vocab_size = train.manifest.seq_len, train.manifest.vocabulary.vocab_size
    body = keras_hub.models.GPT2Backbone.from_preset(options.preset) if options.preset else backbone(vocab_size, seq_len)
    model = language_model(body)

    batches = train.batches(
        options.batch_size,
        seed=0,
        features=["inputs", "targets", "loss_weights", "padding_mask"],
        rename=FIELDS,
        across_documents=True,
        hosts=options.hosts,
        host=options.host,
    )
    folder = options.folder / options.run
    state = common.restore(folder, model) or {"losses": []}
    if "batches" in state:
        batches.set_state(state["batches"])
    losses: list[float] = state["losses"]
    begun, data = len(losses), KerasBatches(batches, model)  # begins where the batches stand

    class Checkpoints(keras.callbacks.Callback):
        """Keeps the loss of each step, and writes down the model and where the data stand."""

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            losses.append(float(logs["loss"]))
            if len(losses) % options.every == 0 or len(losses) == options.steps:
                print(f"step {len(losses)}: loss {losses[-1]:.4f}", flush=True)
                state = {"batches": data.get_state(len(losses) - begun), "losses": losses}
                common.save(folder, model, len(losses), state, host=options.host)

    # An epoch of one step, so that each loss is that of a batch; the run goes on from epoch to epoch.
    model.fit(data, steps_per_epoch=1, epochs=options.steps - begun, callbacks=[Checkpoints()], shuffle=False, verbose=0)
    found: dict[str, Any] = {"losses": losses}
    if options.hosts == 1:
        found |= compare(body, model, tokenreel.load(train.path, "validation"))
    return found


if __name__ == "__main__":
    main()

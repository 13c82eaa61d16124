"""What extracting features costs beside the bare model: examples a second of processor time, one thread each.

    python -m benchmarks.features
    python -m benchmarks.features --layers 8 --width 512 --check

The bare model computes the same numbers of the same batches, which lie in memory; the extraction reads the examples from the
dataset, and writes shards, indexes and the sums of documents. They take turns, so that a busy machine slows both. Each line is a JSON
object; `--check` fails where the extraction has less than 90 % of the bare model's throughput.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import tempfile
import time
from typing import Any

import numpy as np

from pipelines import build as build_job
from tokenreel.assembly.split_range import SplitRange
from tokenreel.config.build import ShardFiles
from tokenreel.config.features import FeatureJobConfig, KeptConfig, LayerConfig, ModelConfig
from tokenreel.extracting import feature_job, feature_shards
from tokenreel.extracting.feature_job import FeatureJob, ModelOnce
from tokenreel.format import manifest as manifests
from tokenreel.model_features import keras_models

TARGET = 0.9


def transformer(layers: int, width: int, vocab_size: int, seq_len: int) -> Any:
    """A decoder as GPT-2 is one, whose head is its embedding, reversed."""
    import keras
    from keras import ops

    keras.utils.set_random_seed(1)
    ids = keras.Input((seq_len,), dtype="int32", name="token_ids")
    embedding = keras.layers.ReversibleEmbedding(vocab_size, width, name="token_embedding")
    hidden = embedding(ids) + keras.layers.Embedding(seq_len, width, name="position_embedding")(ops.arange(seq_len))
    for number in range(layers):
        normal = keras.layers.LayerNormalization()(hidden)
        attention = keras.layers.MultiHeadAttention(width // 64 or 1, min(width, 64), name=f"attention_{number}")
        hidden = hidden + attention(normal, normal, use_causal_mask=True)
        inner = keras.layers.Dense(4 * width, activation="gelu")(keras.layers.LayerNormalization()(hidden))
        hidden = keras.layers.Add(name=f"layer_{number}")([hidden, keras.layers.Dense(width)(inner)])
    return keras.Model(ids, keras.layers.LayerNormalization(name="last")(hidden))


def bare(model: Any, top_k: int, pooled: list[str]) -> Any:
    """Gives a model of ids and targets that gives the same numbers as the extraction, and does nothing else."""
    import keras
    from keras import ops

    targets = keras.Input(model.inputs[0].shape[1:], dtype="int32", name="targets")
    logits = model.get_layer("token_embedding")(model.outputs[0], reverse=True)
    normalizer = ops.logsumexp(logits, axis=-1)
    found = {"logprobs": ops.squeeze(ops.take_along_axis(logits, ops.expand_dims(targets, -1), axis=-1), -1) - normalizer}
    if top_k:
        values, ids = ops.top_k(logits, top_k)
        found |= {"values": values, "ids": ids, "normalizer": normalizer}
    found |= {name: ops.mean(model.get_layer(name).output, axis=1) for name in pooled}
    return keras.Model([model.inputs[0], targets], found)


def make_job(folder: pathlib.Path, options: argparse.Namespace) -> FeatureJob:
    """Builds a dataset of random words, and prepares the extraction."""
    random = np.random.default_rng(0)
    words = ["".join(chr(97 + letter) for letter in random.integers(0, 26, length)) for length in random.integers(2, 9, 2000)]
    tokens = options.examples * options.seq_len
    with open(folder / "text.txt", "w", encoding="utf-8") as file:
        for _ in range(tokens // 500 + 1):
            file.write(" ".join(random.choice(words, 100)) + "\n")
    config = {
        "output": str(folder / "dataset"),
        "sources": [{"files": ["text.txt"], "format": "lines"}],
        "vocabulary": {"kind": "bytes"},
        "packing": {"seq_len": options.seq_len, "overlap": 1},
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    if build_job.main([str(folder / "config.yaml"), "--direct_num_workers=1"]):
        raise SystemExit("the dataset was not built")
    settings = FeatureJobConfig(
        output=str(folder / "features"),
        dataset=config["output"],
        model=ModelConfig(build="benchmarks.features:transformer", version="1", arguments=_sizes(options)),
        logits=KeptConfig(top_k=options.top_k),
        layers=tuple(LayerConfig(name=name, pool="mean") for name in options.pooled),
        batch_size=options.batch_size,
        shards=ShardFiles(examples=options.examples),
    )
    job = FeatureJob.prepare(settings, manifests.read(settings.dataset), b"")
    return dataclasses.replace(job, splits=(("train", min(job.splits[0][1], options.examples)),))


def _sizes(options: argparse.Namespace) -> dict[str, int]:
    return {"layers": options.layers, "width": options.width, "vocab_size": options.vocab_size, "seq_len": options.seq_len}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measures both, in turns."""
    keras_models.prepare("jax", 1)
    with tempfile.TemporaryDirectory() as name:
        job = make_job(pathlib.Path(name), options)
        split, count = job.splits[0]
        count = count // options.batch_size * options.batch_size
        model = transformer(**_sizes(options))
        plain, once = bare(model, options.top_k, options.pooled), ModelOnce(job)
        extractor = feature_job.Extractor(model, job.predicting, job.asked)
        once._model = extractor  # the same weights
        batches = [job.batch(split, first, count).fields for first in range(0, count, options.batch_size)]
        given = [[batch["inputs"], batch["targets"]] for batch in batches]
        plain.predict_on_batch(given[0])  # compiled before anything is measured
        extractor(job.batch(split, 0, count))
        ratios, spent = [], {"bare": 0.0, "extracted": 0.0}
        for turn in range(options.turns):
            start = time.process_time()
            for batch in given:
                plain.predict_on_batch(batch)
            middle = time.process_time()
            feature_shards.write_shard(job, SplitRange(0, turn, options.turns, 0, count), once)
            end = time.process_time()
            spent["bare"] += middle - start
            spent["extracted"] += end - middle
            ratios.append((middle - start) / (end - middle))
    return {
        **_sizes(options),
        "examples": count,
        "top_k": options.top_k,
        "pooled_layers": len(options.pooled),
        "bare_examples_per_second": round(count * options.turns / spent["bare"], 2),
        "extracted_examples_per_second": round(count * options.turns / spent["extracted"], 2),
        "share_of_bare": round(float(np.median(ratios)), 3),
    }


def main() -> int:
    """Prints a line for log-probabilities alone, and one with the largest logits and two layers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--vocab-size", type=int, default=8192)
    parser.add_argument("--seq-len", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--examples", type=int, default=64)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    missed = False
    for top_k, pooled in ((0, []), (16, ["layer_0", "layer_1"])):
        row = measure(argparse.Namespace(**vars(options), top_k=top_k, pooled=pooled))
        print(json.dumps(row), flush=True)
        missed |= row["share_of_bare"] < TARGET
    return int(options.check and missed)


if __name__ == "__main__":
    sys.exit(main())

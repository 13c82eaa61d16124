"""Replays one epoch of a dataset as a trainer would, and measures it.

python examples/replay.py demo/dataset
"""

import argparse
import json
import pathlib
import time

import numpy as np

import tokenreel


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    dataset = tokenreel.load(arguments.dataset)
    width = dataset.manifest.seq_len + dataset.manifest.overlap
    seen, tokens, started = [], 0, time.perf_counter()
    for batch in dataset.batches(arguments.batch_size, seed=arguments.seed, epochs=1, drop_remainder=False):
        inputs = batch["tokens"]  # [batch, width] int32: here a training step would begin
        tokens += int(batch["num_tokens"].sum()) if "num_tokens" in batch else inputs.size
        seen.append(batch["example_id"])
    seconds = time.perf_counter() - started

    ids = np.concatenate(seen)
    print(f"{dataset!r}")
    print(f"{len(seen):,} batches of {arguments.batch_size} x {width}, {tokens:,} tokens, {tokens / seconds / 1e6:.1f} million tokens/s")
    print(f"every example exactly once: {'yes' if np.array_equal(np.sort(ids), np.arange(len(dataset))) else 'NO'}")
    print(f"shuffled: the epoch began with the examples {', '.join(map(str, ids[:8].tolist()))}, ...")
    statistics = json.loads(pathlib.Path(arguments.dataset, "statistics.json").read_text(encoding="utf-8"))
    for split, found in statistics["splits"].items():
        print(
            f"{split}: {found['documents']:,} documents, {found['characters']:,} characters, {found['tokens']:,} tokens in "
            f"{found['examples']:,} examples, {found['density']:.2%} of the positions filled"
        )


if __name__ == "__main__":
    main()

"""How fast objectives corrupt examples, beside a plain copy of the same bytes.

    python -m benchmarks.objectives
    python -m benchmarks.objectives --names bert t5 --check

Times are processor seconds of one core, the best of a few runs; tokens are those read; each line is a JSON object. `--check` fails when a
target is missed: masked LM 30 million tokens a second, span corruption and UL2 10 million.
"""

import argparse
import json
import sys
from typing import Any

import numpy as np

from benchmarks.packing import seconds, web_lengths
from tokenreel.objectives.registry import OBJECTIVES, make_objective

VOCABULARY = {
    "vocab_size": 32128,
    "pad_id": 0,
    "eos_id": 1,
    "mask_id": 4,
    "special_ids": [1, 2, 3],
    "num_sentinels": 140,
    "word_starts": np.random.default_rng(0).random(32128) < 0.7,
    "pieces": [None] * 13 + [" interest"[: 1 + i % 9] for i in range(32115)],
}
CHARACTERS = {
    **VOCABULARY,
    "vocab_size": 131,
    "characters": [None] * 5 + [chr(c) for c in range(32, 127)] + [None] * 31,
    "num_sentinels": 31,
}
TARGETS = {"bert": 30, "roberta": 30, "masked_lm": 30, "t5": 10, "span_corruption": 10, "ul2": 10}


def measure(name: str, seq_len: int, tokens: int) -> dict[str, Any]:
    vocabulary = CHARACTERS if name in ("character_denoising", "typo_noise") else VOCABULARY
    infill = {"prefix_id": 10, "suffix_id": 11, "middle_id": 12} if name == "fill_in_the_middle" else {}
    objective = make_objective(name, seq_len=seq_len, vocabulary=vocabulary, **infill)
    rng = np.random.default_rng(0)
    ids = np.arange(max(1, tokens // objective.raw_length()))
    text = rng.integers(13, vocabulary["vocab_size"] - 31, (len(ids), objective.raw_length())).astype(np.uint16)
    arrays = {"tokens": text, "document_starts": rng.random(text.shape) < 1 / 500}
    total = text.size
    if name == "ul2":
        arrays["num_tokens"] = objective.raw_lengths(ids, seed=0)
        total = int(arrays["num_tokens"].sum())
    copied = np.empty_like(text)
    copy = seconds(lambda: np.copyto(copied, text))
    if name == "fill_in_the_middle":
        lengths = web_lengths(text.size)
        offsets = np.append(0, np.cumsum(lengths))
        flat, documents = text.ravel()[: offsets[-1]], np.arange(len(lengths))
        used = seconds(lambda: objective.rearrange(flat, offsets, documents, seed=0))
        total = len(flat)
    else:
        used = seconds(lambda: objective.apply(arrays, ids, seed=0))
    return {
        "objective": name,
        "seq_len": seq_len,
        "raw_length": objective.raw_length(),
        "million_tokens_per_second": round(total / used / 1e6, 1),
        "times_copyto": round(used / copy, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--names", nargs="*", default=list(OBJECTIVES), choices=list(OBJECTIVES))
    parser.add_argument("--seq-len", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=4_000_000)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    missed = 0
    for name in options.names:
        row = measure(name, options.seq_len, options.tokens)
        print(json.dumps(row), flush=True)
        missed += row["million_tokens_per_second"] < TARGETS.get(name, 0)
    return int(options.check and missed > 0)


if __name__ == "__main__":
    sys.exit(main())

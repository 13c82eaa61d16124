"""Samples of given texts, made as a job makes them."""

from __future__ import annotations

import pathlib
from collections import Counter

import numpy as np

from tokenreel import ragged
from tokenreel.config.tokenizer import Shares
from tokenreel.tokenizer_training import sample_files, sample_plan
from tokenreel.tokenizer_training.sample import measure
from tokenreel.tokenizer_training.sample_files import Sample
from tokenreel.tokenizer_training.sample_plan import BUCKETS, Totals
from tokenreel.tokenizer_training.texts import Texts


def documents(texts: list[bytes], keys: list[int] | None = None) -> Texts:
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    key = np.array(range(len(texts)) if keys is None else keys, dtype=np.uint64)
    return Texts(np.frombuffer(b"".join(texts), dtype=np.uint8), ragged.offsets_of(lengths), key, [], Counter(), {})


def sample(
    directory: pathlib.Path,
    parts: list[tuple[int, Texts]],
    budget: int | None,
    *,
    held_out: int = 1,
    shares: Shares | None = None,
    limit: int = 1000,
    sources: int = 1,
    seed: int = 5,
) -> Sample:
    totals, written = Totals(sources), []
    for number, (source, part) in enumerate(parts):
        measured, candidates = measure(part, source, seed, limit, BUCKETS)
        totals.add(measured)
        written.append((source, str(directory / str(number))))
        sample_files.write_candidates(written[-1][1], candidates)
    return Sample(sample_plan.plan(totals, budget, held_out, shares or Shares((1.0,) * sources, by_text=True), limit), written)

"""Compares every byte of a directory of features with its manifest, its records, its indexes and its scores.

What the model said is taken on trust: only the model itself could tell.

Tested in tests/pipelines/test_extract_features.py.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tokenreel.errors import ManifestError
from tokenreel.format import features, naming
from tokenreel.format.features import FeatureManifest, FeatureStore
from tokenreel.format.schema import EXAMPLE_ID
from tokenreel.inspection import cache_check
from tokenreel.storage import arrow_memory, files

_TOGETHER = 4096  # examples that are read at a time
_CLOSE = 1e-9  # of sums of the same numbers in another order


def differences(directory: str, manifest: FeatureManifest, *, quick: bool = False) -> Iterator[str]:
    """Yields a line for each thing that is not as the manifest says.

    Args:
      directory: of the features.
      manifest: of them.
      quick: compares names and sizes alone.
    """
    found = list(cache_check.differences(directory, manifest, quick=quick, is_ours=_is_ours))
    yield from found
    if quick or found:
        return
    try:
        store = FeatureStore(directory)
        statistics = json.loads(files.read_bytes(files.join(directory, naming.STATISTICS)))["splits"]
        if set(statistics) != set(manifest.splits):
            yield f"{naming.STATISTICS}: describes the splits {', '.join(sorted(statistics))}, the manifest {', '.join(manifest.splits)}"
            return
        for split in manifest.splits:
            yield from _split_differences(store, split, statistics[split])
    except (ManifestError, KeyError, TypeError, ValueError) as error:  # of a manifest that was made to fit
        yield f"{naming.MANIFEST}: {error}" if isinstance(error, ManifestError) else f"{naming.MANIFEST}: {type(error).__name__} ({error})"


def _is_ours(name: str) -> bool:
    return naming.is_shard(name) or naming.is_shard_index(name) or naming.is_scores(name) or name == naming.STATISTICS


def _split_differences(store: FeatureStore, split: str, told: Mapping[str, Any]) -> Iterator[str]:
    """Compares the records of a split with what the manifest and the statistics say of it."""
    records, manifest = store.records(split), store.manifest
    if set(records.features) != {*manifest.specs, EXAMPLE_ID}:
        yield f"{split}: its records hold {', '.join(sorted(records.features))}, the manifest tells of {', '.join(manifest.specs)}"
        return
    sums = [0.0]
    for first in range(0, len(records), _TOGETHER):
        numbers = np.arange(first, min(first + _TOGETHER, len(records)))
        block = records.take(numbers)
        wrong = np.flatnonzero(block[EXAMPLE_ID][0] != numbers)
        if len(wrong):
            yield f"{split}: record {numbers[wrong[0]]:,} is of example {int(block[EXAMPLE_ID][0][wrong[0]]):,}"
        for name, spec in manifest.specs.items():
            values, bounds = block[name]
            shape = np.shape(values)[1:] if bounds is not None else ()
            inner = spec.shape[1:] if spec.shape else ()
            longest = int(np.diff(bounds).max(initial=0)) if bounds is not None else 0
            if (values.dtype, shape) != (spec.stored_dtype, inner) or longest > (spec.shape[0] if spec.shape else 0):
                yield f"{split}: {name} of examples from {first:,} on is {values.dtype} {list(shape)}, the manifest says {spec}"
        if features.LOGPROBS in manifest.specs:
            sums.append(float(block[features.LOGPROBS][0].sum(dtype=np.float64)))
    if features.LOGPROBS in manifest.specs and not _is_close(math.fsum(sums), told["logprob"]):
        yield f"{split}: its log-probabilities add up to {math.fsum(sums):,.6f}, {naming.STATISTICS} says {told['logprob']:,.6f}"
    if "predicted_tokens" in told:
        yield from _rate_differences(split, told)
        if "sources" in told:
            yield from _score_differences(store, split, told)


def _rate_differences(where: str, told: Mapping[str, Any]) -> Iterator[str]:
    """Compares the perplexity with what it is made of."""
    predicted = told["predicted_tokens"]
    if predicted and not _is_close(told["perplexity"], math.exp(-told["logprob"] / predicted)):
        yield f"{where}: perplexity {told['perplexity']} of {predicted:,} tokens and a log-probability of {told['logprob']}"


def _score_differences(store: FeatureStore, split: str, told: Mapping[str, Any]) -> Iterator[str]:
    """Compares the tables of scores with the statistics of their sources."""
    import pyarrow.parquet as pq

    found: dict[str, list[Any]] = {}
    names = [info.file for info in store.manifest.files if naming.is_scores(info.file) and info.file.startswith(f"scores/{split}-")]
    for name in names:
        with files.open_read(files.join(store.directory, name)) as file:
            table = pq.read_table(arrow_memory.read(file), use_threads=False, partitioning=None)
        predicted, logprob = (table[column].to_numpy() for column in ("predicted_tokens", "logprob"))
        if not np.allclose(table["score"].to_numpy() * predicted, logprob, rtol=_CLOSE, atol=0):
            yield f"{name}: a score is not the log-probability by predicted token"
        if not np.allclose(np.exp(-table["score"].to_numpy()), table["perplexity"].to_numpy(), rtol=_CLOSE, atol=0):
            yield f"{name}: a perplexity is not that of the score"
        sources = np.array(table["source"].to_pylist(), dtype=object)
        for source in sorted(set(sources.tolist())):
            mine = sources == source
            have = found.setdefault(source, [0, 0, 0.0])
            for place, value in enumerate((int(mine.sum()), int(predicted[mine].sum()), float(logprob[mine].sum()))):
                have[place] += value
    if set(found) != set(told["sources"]):
        known = ", ".join(told["sources"])
        yield f"{split}: the scores are of the sources {', '.join(sorted(found))}, {naming.STATISTICS} tells of {known}"
        return
    for source, (documents, predicted_tokens, sum_of) in found.items():
        said = told["sources"][source]
        if (documents, predicted_tokens) != (said["documents"], said["predicted_tokens"]) or not _is_close(sum_of, said["logprob"]):
            yield f"{split}: the scores of source {source} are not what {naming.STATISTICS} says of it"
        yield from _rate_differences(f"{split}, source {source}", said)
    if sum(each[1] for each in found.values()) != told["predicted_tokens"]:
        yield f"{split}: the documents have other numbers of predicted tokens than the split"


def _is_close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_CLOSE, abs_tol=_CLOSE)

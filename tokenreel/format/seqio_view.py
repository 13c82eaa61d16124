"""The files by which SeqIO reads what this project writes: its `info` and `stats`, beside shards of its own wire types.

Tested in tests/pipelines/test_cache_tasks.py and tests/pipelines/test_build_tasks.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tokenreel.format import schema
from tokenreel.format.schema import Feature

SEQIO_VERSION = "0.0.20"  # whose files these are
_DTYPES = {schema.BIT: "int32", "uint8": "int32", "uint16": "int32"}  # of those that SeqIO refuses


def info(features: Mapping[str, tuple[str, Sequence[int | None]]], shards: int) -> bytes:
    """Gives the content of `info.<split>.json`.

    Args:
      features: dtype and shape of each; None for a length that differs from example to example.
      shards: of the split.
    """
    told = {name: {"dtype": dtype, "shape": list(shape)} for name, (dtype, shape) in features.items()}
    return _json({"features": told, "num_shards": shards, "seqio_version": SEQIO_VERSION})


def of_records(features: Sequence[Feature]) -> dict[str, tuple[str, Sequence[int | None]]]:
    """Gives dtype and shape, as SeqIO reads them, of the features of records of the int64_list format."""
    return {feature.name: (_DTYPES.get(feature.dtype, feature.dtype), feature.shape) for feature in features}


def statistics(counts: Mapping[str, int]) -> bytes:
    """Gives the content of `stats.<split>.json`; `examples` is what SeqIO needs of it."""
    return _json(counts)


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=2, sort_keys=True).encode()

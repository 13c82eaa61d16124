"""Features of a dataset's examples: what `tokenreel extract-features` writes, and how it is read, by the numbers of the examples.

A directory of features holds `manifest.json` and, for each split of the dataset, shards of records of any length with their indexes
(`ragged_records`): record i is that of example i. A feature that has a value for each position is stored without padding, and read with it.
`bfloat16` is stored as the upper halves of float32, and read as float32.

Tested in tests/pipelines/test_extract_features.py and tests/tokenreel/model_features/test_extractor.py.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ManifestError
from tokenreel.format import naming, told_manifest
from tokenreel.format.cache_manifest import SplitOfCache, checksums, split_from_json, split_to_json
from tokenreel.format.manifest import FileInfo, to_json
from tokenreel.format.ragged_shards import RaggedRecords, map_shard
from tokenreel.format.schema import EXAMPLE_ID
from tokenreel.ragged import ranks
from tokenreel.storage import files

FORMAT = "tokenreel-features"
FORMAT_VERSION = 1
LOGPROBS = "logprobs"  # float32 [T], of the predicted tokens; 0 where nothing is predicted
TOPK_IDS = "topk_ids"  # [T, k], the ids of the largest logits, largest first
TOPK_VALUES = "topk_values"  # [T, k], these logits
LOG_NORMALIZER = "log_normalizer"  # float32 [T], the logarithm of the sum of all exp(logit): a logit less this is a log-probability
LAYER = "layer."  # begins the names of intermediate outputs
BFLOAT16 = "bfloat16"
_AGAIN = "Copy the directory again, or run the same `tokenreel extract-features` command again."


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureSpec:
    """A feature as it is read.

    Attributes:
      dtype: name of a NumPy type, or `BFLOAT16`.
      shape: of one example.
      trimmed: whether the first axis is stored without padding.
    """

    dtype: str
    shape: tuple[int, ...]
    trimmed: bool

    @property
    def nbytes(self) -> int:
        """Bytes of an example without padding."""
        return int(np.prod(self.shape)) * self.stored_dtype.itemsize

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """The type of its values in records."""
        return np.dtype("uint16" if self.dtype == BFLOAT16 else self.dtype)

    def to_stored(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Converts numbers to the type of records: to the nearest value, to the even one of two.

        >>> spec = FeatureSpec(dtype="bfloat16", shape=(2,), trimmed=False)
        >>> spec.to_read(spec.to_stored(np.array([1.0, 3.141592], np.float32))).tolist()
        [1.0, 3.140625]
        """
        if self.dtype != BFLOAT16:
            return values.astype(self.stored_dtype, copy=False)
        bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
        rounded = (bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16
        return np.where(np.isfinite(values), rounded, bits >> 16).astype(np.uint16)

    def to_read(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Converts numbers of records to those that are read."""
        if self.dtype != BFLOAT16:
            return values
        return (values.astype(np.uint32) << 16).view(np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureManifest:
    """Everything a reader needs to know of a directory of features.

    Attributes:
      dataset: fingerprint of the dataset whose examples they are of.
      model: what identifies the model.
      identity: what decides the features beside them: settings, versions.
      specs: the features, by name.
      splits: by name, sorted; shards hold equally many records, but for the last.
      files: what lies beside the shards and their indexes.
      tokenreel_version: of the software that made it.
    """

    dataset: str
    model: Mapping[str, Any]
    identity: Mapping[str, Any]
    specs: Mapping[str, FeatureSpec]
    splits: Mapping[str, SplitOfCache]
    files: Sequence[FileInfo]
    tokenreel_version: str

    def _body(self) -> dict[str, Any]:
        return {
            "dataset": self.dataset,
            "model": dict(self.model),
            "identity": dict(self.identity),
            "features": {name: dataclasses.asdict(spec) | {"shape": list(spec.shape)} for name, spec in self.specs.items()},
            "splits": {name: split_to_json(split) for name, split in self.splits.items()},
        }

    @functools.cached_property
    def fingerprint(self) -> str:
        """Identifies the features: equal exactly where the shards' bytes, their order and what made them are equal."""
        return told_manifest.fingerprint(FORMAT, FORMAT_VERSION, self._body())

    def checksums(self) -> dict[str, tuple[int, int]]:
        """Gives the bytes and the CRC32C of every file beside the manifest, by name."""
        return checksums(self.splits, self.files)

    def to_bytes(self) -> bytes:
        """Gives the text of the file."""
        body = self._body() | {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "files": [dataclasses.asdict(info) for info in self.files],
            "tokenreel_version": self.tokenreel_version,
            "fingerprint": self.fingerprint,
        }
        return to_json(body)


def find(directory: str) -> FeatureManifest | None:
    """Reads the manifest of a directory; None where there is none, or that of something else.

    Raises:
      ManifestError: it was altered, or a newer version wrote it.
    """
    path = files.join(directory, naming.MANIFEST)
    body = told_manifest.find(path, FORMAT)
    return None if body is None else _parse(body, path)


def read(directory: str) -> FeatureManifest:
    """Reads the manifest of a directory.

    Raises:
      ManifestError: there is none, it was altered, or a newer version wrote it.
    """
    found = find(directory)
    if found is None:
        raise ManifestError(
            f"{directory}: no features here. Give the directory that `tokenreel extract-features` wrote; one whose job did not finish is "
            "finished by the same command again."
        )
    return found


def _parse(body: Mapping[str, Any], path: str) -> FeatureManifest:
    def make() -> FeatureManifest:
        return FeatureManifest(
            dataset=body["dataset"],
            model=body["model"],
            identity=body["identity"],
            specs={name: FeatureSpec(**{**told, "shape": tuple(told["shape"])}) for name, told in sorted(body["features"].items())},
            splits={name: split_from_json(split) for name, split in sorted(body["splits"].items())},
            files=tuple(FileInfo(**info) for info in body["files"]),
            tokenreel_version=body["tokenreel_version"],
        )

    return told_manifest.check(body, path, FORMAT_VERSION, make, _AGAIN)


class FeatureStore:
    """The features in a directory, by the numbers of examples. A shard is mapped, and compared with its digest, when it is read first.

    Args:
      directory: that `tokenreel extract-features` wrote, local or `gs://`.
      names: of the features wanted; None for all.

    Attributes:
      directory: where they lie.
      manifest: what it consists of.
      specs: the features wanted, by name.

    Raises:
      ManifestError: it holds no features, or not those that its manifest tells of.
    """

    def __init__(self, directory: str | os.PathLike[str], names: Sequence[str] | None = None) -> None:
        self.directory = files.expand(os.fspath(directory))
        self.manifest = read(self.directory)
        known = self.manifest.specs
        if missing := [name for name in names or () if name not in known]:
            raise ManifestError(f"{self.directory}: no feature {missing[0]!r}; there are {', '.join(known)}")
        self.specs = {name: spec for name, spec in known.items() if names is None or name in names}
        self._check_files()
        self._records: dict[str, RaggedRecords] = {}

    def _check_files(self) -> None:
        present = files.list_files(self.directory)
        for name, (size, _) in self.manifest.checksums().items():
            if present.get(name) != size:
                found = "missing" if name not in present else f"{present[name]:,} bytes, the manifest says {size:,}"
                raise ManifestError(f"{files.join(self.directory, name)}: {found}. {_AGAIN}")

    def __repr__(self) -> str:
        return f"<tokenreel features {self.directory}: {', '.join(self.specs)}>"

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_records": {}}  # a process that gets a copy maps the files itself

    def __len__(self) -> int:
        return sum(split.examples for split in self.manifest.splits.values())

    def take(self, split: str, examples: npt.ArrayLike, names: Sequence[str] | None = None) -> dict[str, npt.NDArray[Any]]:
        """Reads features of some examples.

        Args:
          split: of the dataset.
          examples: int [k] their numbers, in any order.
          names: of the features wanted; None for all of the store.

        Returns:
          {feature: [k, *shape]}, filled up with 0.

        Raises:
          ManifestError: there is no such split, or a file is not what was written.
          IndexError: there is no such example.
        """
        records = self.records(split)
        wanted = self.specs if names is None else {name: self.specs[name] for name in names}
        numbers = np.asarray(examples, dtype=np.int64).reshape(-1)
        found = records.take(numbers, [*wanted, EXAMPLE_ID])
        if not np.array_equal(found[EXAMPLE_ID][0], numbers):
            raise ManifestError(f"{self.directory}: split {split!r} holds features of other examples than its manifest says. {_AGAIN}")
        return {name: _filled_up(spec.to_read(found[name][0]), found[name][1], spec, len(numbers)) for name, spec in wanted.items()}

    def records(self, split: str) -> RaggedRecords:
        """Gives the records of a split, as they are stored.

        Raises:
          ManifestError: there is no such split.
        """
        if split not in self._records:
            if split not in self.manifest.splits:
                known = ", ".join(self.manifest.splits)
                raise ManifestError(f"{self.directory}: holds no features of split {split!r}, only of {known}.")
            found = self.manifest.splits[split]
            shards = [(shard.data.records, functools.partial(map_shard, self.directory, shard, _AGAIN)) for shard in found.shards]
            self._records[split] = RaggedRecords(found.features, shards)
        return self._records[split]


def _filled_up(values: npt.NDArray[Any], bounds: npt.NDArray[np.int64] | None, spec: FeatureSpec, rows: int) -> npt.NDArray[Any]:
    """Lays values that stand end to end into [rows, *shape], the rest 0."""
    shape = (rows, *spec.shape)
    if values.size == np.prod(shape):
        return values.reshape(shape)
    assert bounds is not None
    counts = np.diff(bounds)
    out = np.zeros(shape, values.dtype)
    out[np.repeat(np.arange(rows), counts), ranks(counts)] = values
    return out

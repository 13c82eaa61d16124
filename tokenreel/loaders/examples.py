"""The stored examples of one split, read by their numbers."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.errors import ManifestError, TokenreelError, VocabularyError
from tokenreel.format import labels
from tokenreel.format import pointer as pointers
from tokenreel.format.features import FeatureStore
from tokenreel.format.manifest import Manifest
from tokenreel.format.schema import Feature
from tokenreel.loaders.fields import Arrays, Fields, for_models, is_converted
from tokenreel.loaders.records.base import FieldSlice, Records


class Examples:
    """One split of a dataset, with random access to its examples.

    `len(examples)`, `examples[i]` and `examples.__getitems__([i, ...])` make it a map-style dataset for Torch and a random-access source
    for Grain. It pickles without its memory maps.

    Attributes:
      path: directory of the dataset.
      manifest: what the directory consists of.
      split: which split.
      records: its storage.
      pointer: the pointer that led here; None where the directory was given.
      store: features of the examples that a model made, beside the dataset; None without.
    """

    pointer: str | None = None
    store: FeatureStore | None = None

    def __init__(self, path: str, manifest: Manifest, split: str, records: Records) -> None:
        self.path, self.manifest, self.split, self.records = path, manifest, split, records
        self._fingerprint: str | None = None
        self._fixed_format = manifest.fixed_format
        self._offsets = dict(zip((f.name for f in self._fixed_format.features), self._fixed_format.offsets, strict=True))
        self._known_slices: dict[tuple[str, ...], tuple[list[Feature], list[FieldSlice]]] = {}

    @property
    def fingerprint(self) -> str:
        """Identifies the training data of this split."""
        # Not a cached_property, which until Python 3.12 takes a lock that a forked child would find locked.
        if self._fingerprint is None:
            self._fingerprint = keys.digest(self.manifest.fingerprint, self.split)
        return self._fingerprint

    @property
    def label_names(self) -> dict[str, tuple[str, ...]]:
        """What the numbers of the features with labels mean, from 0 on: names of classes, or `O`, `B-PER`, `I-PER`, ...; -1 is none."""
        return labels.names_of(self.manifest.config.get("sources", ()))

    def find_published(self, fingerprint: object) -> str | None:
        """Finds the directory of the data that a saved state names, if the pointer that led here named it once."""
        if self.pointer is None:
            return None
        try:
            found = pointers.read(self.pointer).find(lambda known: keys.digest(known, self.split) == fingerprint)
        except TokenreelError:
            return None
        return None if found is None else found.dataset

    def check_build(self) -> None:
        """Compares the build in the directory with the one that was opened: what was read before this call is of the latter.

        Raises:
          ManifestError: it is another one.
        """
        self.records.check_build()

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        """Reads what stands beside the shards in its body: it is of the build that was opened.

        Raises:
          ManifestError: the directory holds another build, which is a better reason than what the body found wrong with a file.
        """
        try:
            yield
        except ManifestError:
            self.check_build()
            raise
        self.check_build()

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the stored features, those of a model too."""
        return (*self._offsets, *self.joined)

    @property
    def joined(self) -> tuple[str, ...]:
        """Names of the features that a model made."""
        return () if self.store is None else tuple(self.store.specs)

    def __len__(self) -> int:
        return self.records.count

    def __repr__(self) -> str:
        return f"<tokenreel dataset {self.path} split {self.split}: {len(self):,} examples of {self.manifest.seq_len:,} tokens>"

    def __getitem__(self, example: int | slice) -> Arrays:
        """Reads one example, each feature in its own shape; or those of a slice, as `take` gives them.

        Raises:
          IndexError: there is no such example.
          TypeError: the number is no integer.
        """
        if isinstance(example, slice):
            return self.take(np.arange(*example.indices(len(self))))
        try:
            number = operator.index(example)
        except TypeError:
            raise TypeError(
                f"dataset[{example!r}]: examples have whole numbers; take several with dataset[2:5] or dataset.take([2, 4])"
            ) from None
        return {name: values[0] for name, values in self.take([number]).items()}

    def __getitems__(self, examples: Sequence[int]) -> list[Arrays]:
        """Reads some examples at once, each as `[i]` gives it."""
        batch = self.take(examples)
        return [{name: values[row] for name, values in batch.items()} for row in range(len(examples))]

    def take(self, examples: npt.ArrayLike, features: Sequence[str] | None = None, *, across_documents: bool = False) -> Arrays:
        """Reads [k] examples by number: {feature: [k, *shape]}, unsigned integers as int32, bits as booleans.

        Args:
          examples: [k] numbers; negative ones count from the end.
          features: stored features, or any of `fields.DERIVED`; None takes all that are stored.
          across_documents: see `fields.Fields`.

        Raises:
          IndexError: there is no such example.
        """
        numbers = np.asarray(examples, dtype=np.int64).reshape(-1)
        if len(numbers) and (numbers.min() < -len(self) or numbers.max() >= len(self)):
            raise IndexError(
                f"{self.path}: split {self.split!r} has the examples 0 to {len(self) - 1:,}, got {numbers.min()} to {numbers.max()}"
            )
        # Negative numbers count from the end, as in a list; records know only those from 0 on.
        numbers = np.where(numbers < 0, numbers + len(self), numbers)
        fields = Fields(self.manifest, features, across_documents=across_documents, joined=self.joined)
        return fields(self.stored(numbers, fields.stored))

    def stored(self, examples: npt.NDArray[np.int64], names: Sequence[str]) -> Arrays:
        """Reads stored features of int64 [k] examples, which must be in range: {feature: [k, *shape]}.

        Raises:
          ManifestError: a record is not what was written, where the CRC policy has it checked.
        """
        own = tuple(name for name in names if name in self._offsets)
        arrays: Arrays = {}
        if own:
            wanted, slices = self._slices(own)
            arrays = self._arrays(wanted, self.records.take(examples, slices), len(examples))
        if self.store is not None and (joined := [name for name in names if name in self.store.specs]):
            for name, values in self.store.take(self.split, examples, joined).items():
                arrays[name] = values.astype(np.int32) if values.dtype.kind == "u" else values
        return arrays

    def plan_reads(self, examples: npt.NDArray[np.int64], names: Sequence[str]) -> list[Any]:
        """Prepares n reads of the stored features of int64 [n, k] examples, for `fetch`; see `Records.plan_reads`."""
        return self.records.plan_reads(examples, self._slices(tuple(names))[1])

    def fetch(self, read: Any, names: tuple[str, ...], rows: int) -> Arrays:
        """Reads stored features of the k = `rows` examples of one read that `plan_reads` prepared for the same names.

        Raises:
          ManifestError: as `stored`.
        """
        wanted, slices = self._slices(names)
        return self._arrays(wanted, self.records.fetch(read, slices), rows)

    def _slices(self, names: tuple[str, ...]) -> tuple[list[Feature], list[FieldSlice]]:
        """Finds features and where they lie; what was found is kept, because every batch of a run asks for the same names."""
        if (found := self._known_slices.get(names)) is None:
            wanted = [self._fixed_format.feature(name) for name in names]
            found = wanted, [FieldSlice(self._offsets[feature.name], feature.nbytes, not is_converted(feature)) for feature in wanted]
            self._known_slices[names] = found
        return found

    def _arrays(self, wanted: list[Feature], data: list[bytes | bytearray | npt.NDArray[np.uint8]], rows: int) -> Arrays:
        return {feature.name: for_models(feature, values, rows) for feature, values in zip(wanted, data, strict=True)}

    def vocabulary(self) -> Any:
        """Loads the vocabulary that made the tokens, from its copy in the dataset.

        Raises:
          ManifestError: the copy is missing, or not what was written.
          VocabularyError: the copy cannot be read, or a package that it needs is not installed.
        """
        from tokenreel.vocabularies.loading import open_stored

        info = self.manifest.vocabulary
        try:
            with self.beside():
                return open_stored(self.path, self.manifest)
        except ModuleNotFoundError as error:
            raise VocabularyError(f"{self.path}: its vocabulary, {info.kind}, needs a package: pip install {error.name}") from error

"""A dataset as a trainer sees it: numbered examples, and batches of them."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import files, keys, naming
from tokenreel import manifest as manifests
from tokenreel.errors import ConfigError, ManifestError
from tokenreel.loaders.batches import Batches, Source
from tokenreel.loaders.fields import Fields, for_models, is_converted
from tokenreel.loaders.records import MappedRecords, PositionedRecords, Records, Span
from tokenreel.manifest import INT64_LIST, Manifest
from tokenreel.order import ALL_USED, Lanes, Plan
from tokenreel.schema import Feature

Arrays = dict[str, npt.NDArray[Any]]

_ALL_FILES = "Copy the whole directory again from where it was built."


def load(
    path: str | os.PathLike[str],
    split: str = "train",
    *,
    verify: str = "size",
    crc: str = "off",
    fingerprint: str | None = None,
    backend: str = "auto",
    cache: str | os.PathLike[str] | None = None,
    cache_bytes: int | None = None,
) -> Dataset:
    """Opens a split of a dataset, local or `gs://`.

    Reads the manifest and compares the names and sizes of the shards with it; the time does not grow with the number of records. When a
    shard is first read, its first and last record are checked, so that exchanged shards are noticed whatever `crc` says.

    Args:
      path: directory with a `manifest.json`.
      split: to read.
      verify: "size" compares names and sizes; "full" also reads every byte and checks every CRC.
      crc: when a record's CRCs are checked: "off", "first" (the first time it is read), "always".
      fingerprint: refuses any other dataset; None takes what is there.
      backend: "mmap", "pread" (mapped pages count as memory nowhere), or "auto": mmap for local files, ranges of objects for `gs://`.
      cache: local directory that keeps whole shards of a `gs://` dataset; needed to shuffle over everything, where `Lanes` read blocks.
      cache_bytes: bound of the cache; None lets it grow to the whole dataset.

    Raises:
      ManifestError: the directory is incomplete, altered, of another version or fingerprint; names the file.
      ConfigError: an option is unknown or impossible.
    """
    path = os.fspath(path)
    if verify not in ("size", "full"):
        raise ConfigError(f"verify must be size or full, got {verify!r}")
    manifest = manifests.read(path)
    if fingerprint is not None and manifest.fingerprint != fingerprint:
        raise ManifestError(
            f"{path}: fingerprint {manifest.fingerprint}, expected {fingerprint}: this is another dataset. Give the path of the right one, "
            "or leave the fingerprint out to take this one."
        )
    if split not in manifest.splits:
        raise ConfigError(f"{path}: no split {split!r}; there are {', '.join(manifest.splits)}")
    if manifest.record_format == INT64_LIST:
        raise ManifestError(
            f"{path}: records of the int64_list format differ in length, so there is no random access. Read them with "
            "tf.data.TFRecordDataset and tf.io.parse_example (tokenreel.loaders.to_tensorflow.parsed does), or build with "
            "`shards.format: fixed`."
        )
    check_files(path, manifest, split)
    info = manifest.splits[split]
    if not info.examples:
        raise ManifestError(f"{path}: split {split!r} holds no example. Build it from more text, or load another split.")
    records = _records(path, manifest, split, crc, backend, cache, cache_bytes)
    if verify == "full":
        from tokenreel.damage import find_shard_damage

        found = [line for shard in info.shards for line in find_shard_damage(files.join(path, shard.file), shard, manifest.layout)]
        if found:
            more = f" ({len(found) - 1:,} more differences; `tokenreel verify` lists them)" if len(found) > 1 else ""
            raise ManifestError(found[0] + more)
    return Dataset(path, manifest, split, records)


def _records(
    path: str,
    manifest: Manifest,
    split: str,
    crc: str,
    backend: str,
    cache: str | os.PathLike[str] | None,
    cache_bytes: int | None,
) -> Records:
    shards, layout = manifest.splits[split].shards, manifest.layout
    if backend not in ("auto", "mmap", "pread"):
        raise ConfigError(f"backend must be auto, mmap or pread, got {backend!r}")
    if cache is not None:
        from tokenreel.loaders.cache import ShardCache

        return MappedRecords(path, shards, layout, crc, cache=ShardCache(path, os.fspath(cache), manifest.fingerprint, cache_bytes))
    if files.is_remote(path):
        if backend != "auto":
            raise ConfigError(f"{path}: backend {backend!r} needs local files; leave it out, or give a cache directory")
        from tokenreel.loaders.remote import RemoteRecords

        return RemoteRecords(path, shards, layout, crc)
    return PositionedRecords(path, shards, layout, crc) if backend == "pread" else MappedRecords(path, shards, layout, crc)


def check_files(path: str, manifest: Manifest, split: str) -> None:
    """Compares the shards of a split with the directory.

    Raises:
      ManifestError: a shard is missing, of another size, or there is one that the manifest does not know.
    """
    shards = manifest.splits[split].shards
    layout = manifest.layout
    for index, shard in enumerate(shards):
        if shard.file != naming.shard(split, index, len(shards)) or shard.bytes != shard.records * layout.record_bytes:
            raise ManifestError(f"{path}: the manifest contradicts itself about {shard.file}. Build the dataset again.")
        if shard.records != shards[0].records and (index < len(shards) - 1 or shard.records > shards[0].records):
            raise ManifestError(
                f"{path}: {shard.file} has {shard.records:,} records; all but the last need {shards[0].records:,}. Build it again."
            )
    present = files.list_files(path) if files.is_remote(path) else _shards_in(path)
    for shard in shards:
        found = present.get(shard.file)
        if found is None:
            raise ManifestError(
                f"{files.join(path, shard.file)}: missing; the manifest lists {len(shards)} shards of split {split!r}. {_ALL_FILES}"
            )
        if found != shard.bytes:
            raise ManifestError(
                f"{files.join(path, shard.file)}: {found:,} bytes ({found / layout.record_bytes:,.2f} records), the manifest says "
                f"{shard.bytes:,} ({shard.records:,} records). {_ALL_FILES}"
            )
    known = {shard.file for info in manifest.splits.values() for shard in info.shards}
    for name in present:
        if naming.is_shard(name) and name not in known:
            raise ManifestError(f"{files.join(path, name)}: a shard that the manifest does not list, of another build perhaps. Remove it.")


def _shards_in(path: str) -> dict[str, int]:
    found = {}
    with os.scandir(path) as entries:
        for entry in entries:
            if naming.is_shard(entry.name):
                with contextlib.suppress(FileNotFoundError):
                    found[entry.name] = entry.stat().st_size
    return found


class Dataset:
    """One split of a dataset, with random access to its examples.

    `len(dataset)`, `dataset[i]` and `dataset.__getitems__([i, ...])` make it a map-style dataset for Torch and a random-access source for
    Grain. It pickles without its memory maps.

    Attributes:
      path: its directory.
      manifest: what the directory consists of.
      split: which split.
      records: its storage.
    """

    def __init__(self, path: str, manifest: Manifest, split: str, records: Records) -> None:
        self.path, self.manifest, self.split, self.records = path, manifest, split, records
        self._layout = manifest.layout
        self._offsets = dict(zip((f.name for f in self._layout.features), self._layout.offsets, strict=True))
        self._known_spans: dict[tuple[str, ...], tuple[list[Feature], list[Span]]] = {}

    @functools.cached_property
    def fingerprint(self) -> str:
        """Identifies the training data of this split."""
        return keys.digest(self.manifest.fingerprint, self.split)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the stored features."""
        return tuple(self._offsets)

    def __len__(self) -> int:
        return self.records.count

    def __repr__(self) -> str:
        return f"<tokenreel dataset {self.path} split {self.split}: {len(self):,} examples of {self.manifest.seq_len:,} tokens>"

    def __getitem__(self, example: int) -> Arrays:
        """Reads one example: each feature in its own shape.

        Raises:
          IndexError: there is no such example.
        """
        return {name: values[0] for name, values in self.take([example]).items()}

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
        numbers = np.where(numbers < 0, numbers + len(self), numbers)
        fields = Fields(self.manifest, features, across_documents=across_documents)
        return fields(self.stored(numbers, fields.stored))

    def stored(self, examples: npt.NDArray[np.int64], names: Sequence[str]) -> Arrays:
        """Reads stored features of [k] examples, in range."""
        wanted, spans = self._spans(tuple(names))
        return self._arrays(wanted, self.records.take(examples, spans), len(examples))

    def lay_out(self, examples: npt.NDArray[np.int64], names: Sequence[str]) -> list[Any]:
        """Prepares [n, k] reads of stored features; see `Records.lay_out`."""
        return self.records.lay_out(examples, self._spans(tuple(names))[1])

    def fetch(self, read: Any, names: tuple[str, ...], rows: int) -> Arrays:
        """Reads stored features of the k = `rows` examples that `lay_out` prepared for the same names."""
        wanted, spans = self._spans(names)
        return self._arrays(wanted, self.records.fetch(read, spans), rows)

    def _spans(self, names: tuple[str, ...]) -> tuple[list[Feature], list[Span]]:
        if (found := self._known_spans.get(names)) is None:
            wanted = [self._layout.feature(name) for name in names]
            found = wanted, [Span(self._offsets[feature.name], feature.nbytes, not is_converted(feature)) for feature in wanted]
            self._known_spans[names] = found
        return found

    def _arrays(self, wanted: list[Feature], data: list[bytes | bytearray | npt.NDArray[np.uint8]], rows: int) -> Arrays:
        return {feature.name: for_models(feature, piece, rows) for feature, piece in zip(wanted, data, strict=True)}

    def plan(self, *, seed: int = 0, shuffle: bool | Lanes = True, epochs: int | None = None, skip: Sequence[tuple[int, int]] = ()) -> Plan:
        """The order of the samples, as `batches` delivers them."""
        if isinstance(shuffle, Lanes):
            shuffle = shuffle.resolve(self.records.stride)
        self.records.prepare(shuffle)
        if epochs is not None and epochs < 1:
            raise ConfigError(f"epochs must be at least 1, or None for no end, got {epochs}")
        stop = None if epochs is None else ALL_USED
        return Plan([""], [len(self)], seed=seed, shuffle=shuffle, stop=stop, epochs=epochs or 1, skip=skip)

    def batches(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool | Lanes = True,
        epochs: int | None = None,
        skip: Sequence[tuple[int, int]] = (),
        features: Sequence[str] | None = None,
        across_documents: bool = False,
        objective: Any = None,
        variant: int = 0,
        hosts: int = 1,
        host: int = 0,
        rows: npt.ArrayLike | None = None,
        drop_remainder: bool = True,
        pad_remainder: bool = False,
        prefetch: int = 2,
    ) -> Batches:
        """Iterates over batches, in an order that depends on the data, the seed and `shuffle` alone.

        Args:
          batch_size: rows of the global batch, over all hosts. It may change at any step.
          seed: of the order, and of the objective's choices.
          shuffle: True for a new permutation of all examples each epoch; `Lanes` for blocks, for data across a network; False for the
            stored order.
          epochs: None never ends.
          skip: [start, end) ranges of samples to leave out, counted from the beginning of the run over all hosts.
          features: what a batch holds: stored features and any of `fields.DERIVED`; None for what is stored (or what the objective makes).
          across_documents: whether `loss_weights` count the prediction of a document's first token.
          objective: from `Dataset.objective`, or anything with `apply(arrays, example_ids, *, seed, variant, epoch) -> dict`: computed for
            each batch, anew each epoch.
          variant: passed on to the objective.
          hosts: how many share the global batch.
          host: which of them this is: host h of H gets the contiguous rows [h * batch_size // H, (h + 1) * batch_size // H).
          rows: exactly these rows of the global batch instead.
          drop_remainder: whether to leave out the last, smaller batch. Hosts see the same number of batches either way.
          pad_remainder: whether to fill the last batch up instead, with rows of padding: `example_id` -1, no weight, zeros elsewhere. For
            evaluation on many hosts, or with compiled shapes.
          prefetch: batches one thread prepares ahead; 0 prepares each when it is asked for.

        Raises:
          ConfigError: an option is impossible.
        """
        plan = self.plan(seed=seed, shuffle=shuffle, epochs=epochs, skip=skip)
        source = Source(self, features, across_documents=across_documents, objective=objective, variant=variant, seed=seed, name="")
        return Batches(
            [source],
            plan,
            batch_size,
            hosts=hosts,
            host=host,
            rows=rows,
            drop_remainder=drop_remainder,
            pad_remainder=pad_remainder,
            prefetch=prefetch,
        )

    def objective(self, name: str, *, seq_len: int | None = None, **settings: Any) -> Any:
        """Makes an objective for this dataset's vocabulary, to be applied on the fly: `batches(objective=...)`.

        Args:
          name: one of `objectives.OBJECTIVES`.
          seq_len: positions the model reads; None for the dataset's. T5 reads fewer than an example holds.
          **settings: of the objective.

        Raises:
          ConfigError: a setting is unknown or impossible.
        """
        from tokenreel.objectives import make_objective

        info = self.manifest.vocabulary
        special = tuple(sorted({i for i in (info.pad_id, info.bos_id, info.eos_id, info.unk_id) if i is not None}))
        facts = {"vocab_size": info.vocab_size, "pad_id": self.manifest.pad_id, "eos_id": info.eos_id, "special_ids": special}
        return make_objective(name, seq_len=self.manifest.seq_len if seq_len is None else seq_len, vocabulary=facts, **settings)

    def vocabulary(self) -> Any:
        """Loads the vocabulary that made the tokens, from its copy in the dataset."""
        from tokenreel.vocabularies import load_vocabulary

        info = self.manifest.vocabulary
        return load_vocabulary(info.kind, None if info.file is None else files.join(self.path, info.file), **info.options)

    def documents(self, examples: npt.ArrayLike, *, vocabulary: Any = None) -> list[list[dict[str, Any]]]:
        """Lists the documents in each of [k] examples; see `trace.documents`."""
        from tokenreel.loaders import trace

        return trace.documents(self, examples, vocabulary=vocabulary)

    def where(
        self, step: int, batch_size: int, *, vocabulary: Any = None, rows: npt.ArrayLike | None = None, **order: Any
    ) -> list[Mapping[str, Any]]:
        """Says what was in a step of a run with a constant batch size; see `trace.where`. `order` is what `batches` was given."""
        return self.batches(batch_size, prefetch=0, **order).where(step, rows=rows, vocabulary=vocabulary)

    def when(self, example: int, batch_size: int, *, limit: int | None = None, **order: Any) -> list[Mapping[str, int]]:
        """Lists the steps that see an example; see `trace.when`. `order` is what `batches` was given."""
        return self.batches(batch_size, prefetch=0, **order).when(example, limit=limit)

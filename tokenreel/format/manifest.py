"""`manifest.json`: what a dataset consists of. Its presence means that the dataset is complete."""

from __future__ import annotations

import base64
import dataclasses
import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tokenreel import keys
from tokenreel.errors import BuildError, ManifestError
from tokenreel.format import naming, shard_table
from tokenreel.format.example_codec import make_fixed_format
from tokenreel.format.manifest_checks import check_body
from tokenreel.format.schema import Feature, RecordFormat, features_from_json
from tokenreel.format.shard_table import FileInfo as FileInfo
from tokenreel.format.shard_table import FilesAndTables, ShardColumns
from tokenreel.format.shard_table import ShardInfo as ShardInfo
from tokenreel.storage import files
from tokenreel.wording import brief

FORMAT = "tokenreel-dataset"
FORMAT_VERSION = 1  # the JSON lists every shard
TABLE_VERSION = 2  # a table beside it does: of a million shards the list would take minutes to read
LISTED_SHARDS = 10_000  # of a dataset, at most; one with more gets a table
FIXED = "fixed"  # every feature one `bytes` value of constant size: random access without parsing
TASK_ROWS = "rows"  # the algorithm that only datasets of a task's rows name
INT64_LIST = "int64_list"  # every feature an Int64List of its own length: what SeqIO and most tf.data code read


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitInfo:
    """The shards of one split, in order. All but the last hold the same number of records."""

    shards: Sequence[ShardInfo]

    @property
    def examples(self) -> int:
        """Records in all shards."""
        if isinstance(self.shards, ShardColumns):
            return int(self.shards.table[0].sum())
        return sum(shard.records for shard in self.shards)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VocabularyInfo:
    """The vocabulary that made the tokens; ids a vocabulary lacks are None.

    Attributes:
      file: its copy inside the dataset, or None where it needs none (bytes).
      options: what `load_vocabulary` was given beside kind and path.
    """

    kind: str
    fingerprint: str
    vocab_size: int
    pad_id: int | None
    bos_id: int | None
    eos_id: int | None
    unk_id: int | None
    file: str | None
    options: Mapping[str, Any]


_MOST_HELD_OUT = 0.5  # share of the documents that a message advises to hold out


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything a reader needs to know of a dataset.

    Attributes:
      seq_len: positions the model trains on; with `overlap` 1, records hold one token more.
      overlap: tokens an example shares with the next.
      pad_id: what fills an example that is not full.
      record_format: `FIXED` or `INT64_LIST`.
      features: the fields of a record, by name.
      splits: by name, sorted.
      vocabulary: what made the tokens.
      config: the resolved settings that decide the bytes (not where files lie nor how the job ran).
      seed: of every random choice.
      algorithms: version strings of what the bytes depend on (`keys`, packing, objective).
      totals: the conservation law in numbers: documents and tokens read, written, filtered, dropped, dead-lettered.
      files: everything in the directory that is neither a shard nor the manifest.
      tokenreel_version: of the software that built it.
      objective_facts: what objectives ask about the vocabulary, as `pack_facts` writes it; None where the build wrote none (before there
        were any). No part of the fingerprint: it says nothing that the vocabulary does not say.
      format_version: `FORMAT_VERSION`, or `TABLE_VERSION` for more than `LISTED_SHARDS` shards: each has its own rule for the fingerprint.
    """

    seq_len: int
    overlap: int
    pad_id: int
    record_format: str
    features: tuple[Feature, ...]
    splits: Mapping[str, SplitInfo]
    vocabulary: VocabularyInfo
    config: Mapping[str, Any]
    seed: int
    algorithms: Mapping[str, str]
    totals: Mapping[str, Any]
    files: Sequence[FileInfo]
    tokenreel_version: str
    objective_facts: Mapping[str, Any] | None = None
    format_version: int = FORMAT_VERSION

    @property
    def fixed_format(self) -> RecordFormat:
        """Says where the features lie in a record of the fixed format; of the other, where they would."""
        return make_fixed_format(self.features)

    @property
    def fingerprint(self) -> str:
        """Identifies the training data: equal exactly where the shards' bytes, their order and their meaning are equal."""
        body = self._body()
        meaning = {name: body[name] for name in ("algorithms", "config", "record", "seed", "splits", "vocabulary")}
        table = () if self.format_version == FORMAT_VERSION else (self._digests[1],)
        return keys.digest(FORMAT, self.format_version, _canonical(meaning), *table)

    @property
    def shard_table(self) -> shard_table.Table:
        """The table of all shards, as a manifest of `TABLE_VERSION` has it beside it."""
        return shard_table.to_table({split: info.shards for split, info in self.splits.items()}, self.files)

    @functools.cached_property
    def _digests(self) -> tuple[str, str]:
        """Of the table: of all of it, and of what the fingerprint covers."""
        return shard_table.digests(self.shard_table)

    def checksums(self) -> dict[str, tuple[int, int]]:
        """Gives the bytes and the CRC32C of every file of the dataset beside the manifest, by name."""
        shards = {shard.file: (shard.bytes, shard.crc32c) for split in self.splits.values() for shard in split.shards}
        return shards | {info.file: (info.bytes, info.crc32c) for info in self.files}

    def find_file(self, name: str) -> FileInfo | None:
        """Finds what is said of a file beside the shards; None where the dataset has none of this name."""
        if isinstance(self.files, FilesAndTables):
            return self.files.find(name)
        return self._files_by_name.get(name)

    @functools.cached_property
    def _files_by_name(self) -> dict[str, FileInfo]:
        return {info.file: info for info in reversed(self.files)}

    def find_contradiction(self, split: str) -> str | None:
        """Says what keeps record i of a split from being found by division: names or sizes of shards; None where nothing does."""
        shards, stride = self.splits[split].shards, self.fixed_format.record_bytes
        if isinstance(shards, ShardColumns):
            wrong = shard_table.contradiction(shards, stride if self.record_format == FIXED else None)
            return (
                None if wrong is None else f"{naming.SHARD_TABLE} contradicts itself about {shards[wrong].file}. Build the dataset again."
            )
        for index, shard in enumerate(shards):
            fixed = self.record_format == FIXED
            if shard.file != naming.shard(split, index, len(shards)) or (fixed and shard.bytes != shard.records * stride):
                return f"the manifest contradicts itself about {shard.file}. Build the dataset again."
            if shard.records != shards[0].records and (index < len(shards) - 1 or shard.records > shards[0].records):
                return f"{shard.file} has {shard.records:,} records; all but the last need {shards[0].records:,}. Build it again."
        return None

    def describe_empty(self, split: str) -> str:
        """Says what would give an empty split an example: the share of the documents that holds about two, and two documents."""
        documents, tokens = (int(self.totals.get(name) or 0) for name in ("documents_written", "tokens"))
        share = 2 * max((self.seq_len + self.overlap) / tokens, 1 / documents) if tokens and documents else 1.0
        if share >= _MOST_HELD_OUT:
            return f"split {split!r} holds no example. Build it from more text"
        place = 10.0 ** (math.floor(math.log10(share)) - 1)  # of the second digit, which is rounded up
        return (
            f"split {split!r} holds no example. Set splits.{split} to a larger share, such as {100 * math.ceil(share / place) * place:.2g}%"
        )

    def _body(self) -> dict[str, Any]:
        record: dict[str, Any] = {"format": self.record_format, "overlap": self.overlap, "pad_id": self.pad_id, "seq_len": self.seq_len}
        if self.record_format == FIXED:
            record["record_bytes"] = self.fixed_format.record_bytes
        record["features"] = self.fixed_format.to_json()
        extra: dict[str, Any] = {} if self.objective_facts is None else {"objective_facts": dict(self.objective_facts)}
        listed, splits = self.files, self.splits.items()
        shards: dict[str, Any] = {}
        if self.format_version == FORMAT_VERSION:
            shards = {split: [dataclasses.asdict(shard) for shard in info.shards] for split, info in splits}
        else:
            shards = {split: len(info.shards) for split, info in splits}
            listed = shard_table.unlisted({split: info.shards for split, info in splits}, self.files)
            extra["shard_table"] = {"digest": self._digests[0], "file": naming.SHARD_TABLE}
        return extra | {
            "algorithms": dict(self.algorithms),
            "config": dict(self.config),
            "files": [dataclasses.asdict(info) for info in listed],
            "format": FORMAT,
            "format_version": self.format_version,
            "record": record,
            "seed": self.seed,
            "splits": {split: {"examples": info.examples, "shards": shards[split]} for split, info in splits},
            "tokenreel_version": self.tokenreel_version,
            "totals": dict(self.totals),
            "vocabulary": dataclasses.asdict(self.vocabulary),
        }

    def to_text(self) -> str:
        """Writes the exact text of `manifest.json`: any other text, even of the same meaning, is refused by `read`."""
        body = self._body() | {"fingerprint": self.fingerprint}
        return _pretty(body | {"manifest_digest": keys.digest(_canonical(body))})


def holds_task_rows(manifest: Manifest) -> bool:
    """Says whether a dataset was made of a task: its examples are rows of a feature converter, and no documents are known of them."""
    return TASK_ROWS in manifest.algorithms


def file_info(directory: str, name: str, path: str | None = None) -> FileInfo:
    """Describes a file of a dataset by its size and CRC.

    Args:
      directory: of the dataset.
      name: of its place there.
      path: where it lies until it is moved there.

    Raises:
      BuildError: it is not there.
    """
    path = files.join(directory, name) if path is None else path
    found = files.checksum(path)
    if found is None:
        raise BuildError(f"{path}: vanished while the build was running. Run the same command again.")
    return FileInfo(file=name, bytes=found[0], crc32c=found[1])


def to_json(content: Mapping[str, Any]) -> bytes:
    """Gives the text of a JSON file of the dataset, with sorted keys so that equal contents are equal bytes."""
    return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def pack_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Turns what `Vocabulary.objective_facts` tells into JSON values that stay small however large the vocabulary is.

    Leaves out `vocab_size`, `pad_id` and `eos_id`, which the manifest has elsewhere. `special_ids` become [first, last] ranges, so that
    a thousand sentinels take one entry; with `special_names`, the ids by name, the list is complete. `word_starts` takes a sixth of a byte
    for each id: its bits, eight to a byte, as base64, and not compressed, because the text of a manifest must not depend on a library's
    version. `characters` becomes true: the vocabularies that have them load from the copy in the dataset without any library.

    >>> pack_facts({"vocab_size": 9, "mask_id": 4, "special_ids": (0, 8, 1), "word_starts": np.arange(9) % 2 == 0})
    {'mask_id': 4, 'special_ids': [[0, 1], [8, 8]], 'word_starts': 'qoA='}
    """
    packed = {name: value for name, value in sorted(facts.items()) if name not in ("vocab_size", "pad_id", "eos_id")}
    if "special_ids" in packed:
        ids = np.unique(np.array(packed["special_ids"], dtype=np.int64))
        ranges = np.split(ids, np.flatnonzero(np.diff(ids) > 1) + 1) if len(ids) else []
        packed["special_ids"] = [[int(ids_in_a_row[0]), int(ids_in_a_row[-1])] for ids_in_a_row in ranges]
    if "word_starts" in packed:
        packed["word_starts"] = base64.b64encode(np.packbits(packed["word_starts"]).tobytes()).decode()
    if "characters" in packed:
        packed["characters"] = True
    return packed


def unpack_facts(packed: Mapping[str, Any], vocab_size: int) -> dict[str, Any]:
    """Gives back what `pack_facts` was given: `special_ids` as a sorted tuple, `word_starts` as bool [vocab_size]; leaves `characters` out.

    Raises:
      ValueError: an id or an array does not fit the vocabulary.
    """
    facts = {name: value for name, value in packed.items() if name != "characters"}
    for first, last in packed.get("special_ids", ()):
        if not 0 <= first <= last < vocab_size:
            raise ValueError(f"objective_facts.special_ids hold {first} to {last}, the vocabulary has {vocab_size} ids")
    for name, number in packed.get("special_names", {}).items():
        if not (isinstance(number, int) and 0 <= number < vocab_size):
            raise ValueError(f"objective_facts.special_names gives {name!r} the id {number!r}, the vocabulary has {vocab_size} ids")
    if "special_ids" in packed:
        facts["special_ids"] = tuple(i for first, last in packed["special_ids"] for i in range(first, last + 1))
    if "word_starts" in packed:
        data = np.frombuffer(base64.b64decode(packed["word_starts"], validate=True), dtype=np.uint8)
        if len(data) != -(-vocab_size // 8):
            raise ValueError(f"objective_facts.word_starts hold {8 * len(data)} bits, the vocabulary has {vocab_size} ids")
        facts["word_starts"] = np.unpackbits(data, count=vocab_size).astype(np.bool_)
    return facts


def _canonical(value: object) -> str:
    """Writes JSON for a digest: one text for one value, without spaces, and in ASCII so that no Unicode form matters."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _pretty(value: object) -> str:
    """Writes JSON for people: a key a line, sorted."""
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def parse(text: str, name: str, read_table: Callable[[], bytes] | None = None) -> Manifest:
    """Reads a manifest's text back.

    Args:
      text: as `Manifest.to_text` gives it.
      name: of the file, for errors.
      read_table: reads the table of shards beside it, where there is one.

    Raises:
      ManifestError: it is not JSON, of an unknown version, or any byte of it or of the table was altered.
    """
    repair = "Copy the dataset again from where it was built, or build it again."
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{name}: not JSON ({error}). {repair}") from error
    if isinstance(body, dict) and body.get("format") == "tokenreel-cache":  # see `cache_manifest`
        raise ManifestError(
            f"{name}: this is the cache of task {brief(body.get('task'))}, and no dataset. get_dataset(..., use_cached=True) reads it, and "
            "`tokenreel verify` and `tokenreel inspect` look at it."
        )
    if isinstance(body, dict) and body.get("format") == "tokenreel-mixture":  # see `mixture_manifest`
        raise ManifestError(
            f"{name}: this is the cached order of mixture {brief(body.get('mixture'))}, and no dataset. get_dataset(..., "
            'use_cached="mixture") reads it, and `tokenreel verify` and `tokenreel inspect` look at it.'
        )
    if isinstance(body, dict) and body.get("format") == "tokenreel-features":  # see `features`
        raise ManifestError(
            f"{name}: these are features of dataset {brief(body.get('dataset'))}, and no dataset. dataset.with_features(...) reads them "
            "beside it, and `tokenreel verify` and `tokenreel inspect` look at them."
        )
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise ManifestError(f"{name}: not a tokenreel manifest. {repair}")
    version = body.get("format_version")
    if isinstance(version, bool) or version not in (FORMAT_VERSION, TABLE_VERSION):
        raise ManifestError(
            f"{name}: format version {brief(version)}; this version of tokenreel reads {FORMAT_VERSION} and {TABLE_VERSION}. "
            "Install the version that wrote it (tokenreel_version in the file)."
        )
    try:
        manifest = _from_body(body, read_table)
        written = manifest.to_text()
    except FileNotFoundError as error:
        raise ManifestError(f"{name}: {naming.SHARD_TABLE}, which lists the shards, is missing beside it. {repair}") from error
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ManifestError(f"{name}: a field is missing or malformed ({error!r}). {repair}") from error
    except ManifestError as error:  # about a feature
        raise ManifestError(f"{name}: {error}. {repair}") from error
    # Not only the digest: a text of the same meaning, reformatted by an editor, was altered as well.
    if written != text:
        what = (
            "its text does not match its own digest"
            if version == FORMAT_VERSION
            else f"it or {naming.SHARD_TABLE} does not match its digest"
        )
        raise ManifestError(f"{name}: {what}, so it was altered after it was written. {repair}")
    return manifest


def _from_body(body: Mapping[str, Any], read_table: Callable[[], bytes] | None) -> Manifest:
    check_body(body)
    record, version = body["record"], body["format_version"]
    shards: Mapping[str, Sequence[ShardInfo]]
    files: Sequence[FileInfo] = tuple(FileInfo(**info) for info in body["files"])
    if version == FORMAT_VERSION:
        shards = {split: tuple(ShardInfo(**shard) for shard in info["shards"]) for split, info in body["splits"].items()}
    else:
        data = b"" if read_table is None else read_table()
        shards = columns = shard_table.from_bytes(data, {split: info["shards"] for split, info in body["splits"].items()})
        files = FilesAndTables(files, list(columns.values()))
    if "objective_facts" in body:
        unpack_facts(body["objective_facts"], body["vocabulary"]["vocab_size"])  # what cannot be read is noticed here
    return Manifest(
        seq_len=record["seq_len"],
        overlap=record["overlap"],
        pad_id=record["pad_id"],
        record_format=record["format"],
        features=features_from_json(record["features"]),
        splits={split: SplitInfo(shards=found) for split, found in shards.items()},
        vocabulary=VocabularyInfo(**body["vocabulary"]),
        config=body["config"],
        seed=body["seed"],
        algorithms=body["algorithms"],
        totals=body["totals"],
        files=files,
        tokenreel_version=body["tokenreel_version"],
        objective_facts=body.get("objective_facts"),
        format_version=version,
    )


def read(directory: str) -> Manifest:
    """Reads the manifest of a dataset directory, local or `gs://`.

    Raises:
      ManifestError: there is none (the build did not finish, or this is no dataset), or it was altered.
    """
    path = files.join(directory, naming.MANIFEST)
    try:
        data = files.read_bytes(path)
    except FileNotFoundError:
        raise ManifestError(
            f"{directory}: no {naming.MANIFEST} here. Either this is no dataset, or its build did not finish: "
            "run the same `tokenreel build` command again, finished shards are kept."
        ) from None
    except NotADirectoryError:
        raise ManifestError(
            f"{directory}: no directory, or below a file. A dataset is a directory: give the one that holds {naming.MANIFEST}."
        ) from None
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror or error}). Give the directory of a dataset.") from error
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: not UTF-8 ({error}). Copy the dataset again from where it was built.") from error
    return parse(text, path, lambda: files.read_bytes(files.join(directory, naming.SHARD_TABLE)))

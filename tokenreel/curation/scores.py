"""Leaves out documents by scores that were given to them by name: such as the mean log-probability that a model gives to their tokens.

Scores come in Parquet tables, a row for each document: those of `tokenreel extract-features`, or any with the columns `doc_id` and `score`.
Documents are found by the 64-bit hashes of their names, 16 bytes a document in memory.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.config.build import JobConfig
from tokenreel.config.scores import ScoreConfig
from tokenreel.errors import PATHS_BEGIN, ConfigError
from tokenreel.sources.values import position_keys
from tokenreel.storage import arrow_memory, files

_FOLDER = "scores/"  # of a directory of features
_ENDING = ".parquet"
_SUMS = ("predicted_tokens", "logprob")  # of which the score of a document that has several rows is made


@dataclasses.dataclass(frozen=True)
class Scores:
    """The scores of the documents of a source.

    Attributes:
      names: uint64 [n] hashes of their names, ascending.
      scores: float64 [n].
    """

    names: npt.NDArray[np.uint64]
    scores: npt.NDArray[np.float64]

    def judge(self, names: npt.NDArray[np.uint64], config: ScoreConfig) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Judges documents.

        Args:
          names: uint64 [n] hashes of their names.
          config: the bounds.

        Returns:
          bool [n] which of them have a score outside the bounds, and bool [n] which have none.

        >>> found = Scores(np.array([2, 5], np.uint64), np.array([-1.0, -9.0]))
        >>> [each.tolist() for each in found.judge(np.array([5, 3, 2], np.uint64), ScoreConfig(files=("s",), min=-6.0))]
        [[True, False, False], [False, True, False]]
        """
        place = np.searchsorted(self.names, names)
        known = place < len(self.names)
        known[known] = self.names[place[known]] == names[known]
        outside = np.zeros(len(names), np.bool_)
        scores = self.scores[place[known]]
        outside[known] = (scores < (-np.inf if config.min is None else config.min)) | (
            scores > (np.inf if config.max is None else config.max)
        )
        return outside, ~known


def find_tables(config: ScoreConfig) -> list[str]:
    """Finds the tables that settings name, in order.

    Raises:
      ConfigError: there is none.
    """
    found: list[str] = []
    for path in config.files:
        if path.endswith(_ENDING):
            found.append(path)
            continue
        names = sorted(name for name in files.list_files(path) if name.endswith(_ENDING))
        within = [name for name in names if name.startswith(_FOLDER)]
        if not names:
            raise ConfigError(
                f"filters.scores.files: {path} holds no Parquet table. Name a directory that `tokenreel extract-features` wrote with "
                f"scores of documents, or Parquet files. {PATHS_BEGIN}"
            )
        found += [files.join(path, name) for name in within or names if "/" not in name.removeprefix(_FOLDER)]
    return found


def digest(config: ScoreConfig) -> str:
    """Digests what the tables hold, wherever they lie.

    Raises:
      ConfigError: one is missing.
    """
    sums = []
    for path in find_tables(config):
        if (found := files.checksum(path)) is None:
            raise ConfigError(f"filters.scores.files: {path}: no such file. {PATHS_BEGIN}")
        sums.append(f"{found[0]} {found[1]}")
    return keys.digest("scores", *sorted(sums))


def digests(config: JobConfig) -> tuple[str, ...]:
    """Gives the digest of the tables of each source; "" for one whose documents are not judged by scores."""
    settings = [config.filters_of(index).scores for index in range(len(config.sources))]
    return tuple("" if each is None else digest(each) for each in settings)


@functools.lru_cache(maxsize=16)
def load(config: ScoreConfig, source: str, id_field: str | None, content: str) -> Scores:
    """Reads the scores of a source, once in each process.

    Args:
      config: names the tables.
      source: name of the source whose documents they are of.
      id_field: what names its documents; None where their places do.
      content: what `digest` gave when the build began.

    Raises:
      ConfigError: a table is no such table, holds two scores of a document, or changed since.
    """
    if digest(config) != content:
        raise ConfigError("filters.scores.files changed while the build ran. Run the same command again.")
    parts = [_read(path, source) for path in find_tables(config)]
    ids = [each for ids, *_ in parts for each in ids]
    weights, sums = (np.concatenate([part[place] for part in parts]) for place in (1, 2))
    names = _names(source, id_field, ids)
    order = np.argsort(names, kind="stable")
    names, weights, sums = names[order], weights[order], sums[order]
    if not len(names):
        return Scores(names, sums)
    first = np.flatnonzero(np.concatenate([[True], names[1:] != names[:-1]]))  # repeats of a document are scored together
    return Scores(names[first], np.add.reduceat(sums, first) / np.add.reduceat(weights, first))


def _read(path: str, source: str) -> tuple[list[str], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Reads a table: ids, and float64 [n] weights and weighted scores."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with files.open_read(path) as file:
            table = pq.read_table(arrow_memory.read(file), use_threads=False, partitioning=None)
        if "source" in table.column_names:
            table = table.filter(pc.equal(table["source"].cast(pa.string()), source))
        ids = table["doc_id"].cast(pa.string()).to_pylist()
        if set(_SUMS) <= set(table.column_names):
            weights, sums = (table[name].cast(pa.float64()).to_numpy() for name in _SUMS)
        else:
            sums = table["score"].cast(pa.float64()).to_numpy()
            weights = np.ones(len(sums))
    except (pa.ArrowException, KeyError, OSError) as error:
        what = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"filters.scores.files: {path} is no Parquet table with the columns doc_id and score ({what})") from error
    if None in ids or not np.isfinite(sums).all() or (weights <= 0).any():
        raise ConfigError(f"filters.scores.files: {path} has a row without a name, or with a score that is no number")
    return ids, weights, sums


def _names(source: str, id_field: str | None, ids: Sequence[str]) -> npt.NDArray[np.uint64]:
    """Hashes the names of documents, as they are hashed where the text is read: uint64 [n]."""
    if id_field is not None:
        return np.array([keys.key("document", source, each) for each in ids], dtype=np.uint64)
    cut = [each.rpartition("#") for each in ids]
    wrong = next((each for each, (_, mark, place) in zip(ids, cut, strict=True) if not mark or not place.isdecimal()), None)
    if wrong is not None:
        raise ConfigError(
            f"filters.scores.files: {wrong!r} is no name of a document of source {source}, which has no id_field: they are path#position"
        )
    out = np.zeros(len(ids), dtype=np.uint64)
    by_file: dict[str, list[int]] = {}
    for place, (path, _, _) in enumerate(cut):
        by_file.setdefault(path, []).append(place)
    for path, places in by_file.items():
        out[places] = position_keys(source, path, np.array([int(cut[place][2]) for place in places], dtype=np.int64))
    return out


def without_score(source: str, name: str, count: int) -> str:
    """Says that documents have no score, and what to do."""
    more = f" and {count - 1:,} more of its part" if count > 1 else ""
    return (
        f"filters.scores: document {name!r} of source {source}{more} has no score. Extract features of a dataset that holds all documents, "
        "or set filters.scores.missing to keep or drop"
    )

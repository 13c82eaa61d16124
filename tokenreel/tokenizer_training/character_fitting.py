"""Counts characters, and chooses those that a vocabulary of characters lists."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.config import parsing
from tokenreel.errors import ConfigError
from tokenreel.vocabularies.characters import NORMALIZERS, normalize

# The analyzer adds up a batch in float32, which is exact so far; from there on in float64, exact to 2**53.
_MOST = 1 << 24


@dataclasses.dataclass(frozen=True, kw_only=True)
class CharacterOptions:
    """The `options` of `kind: characters`.

    Attributes:
      min_count: rarer characters are unknown.
      max_size: at most so many characters, the most frequent; of equally frequent ones those with the smaller code points.
      normalizer: applied to every document before it is counted, and by the vocabulary before it encodes.
    """

    min_count: int = 1
    max_size: int | None = None
    normalizer: str = "none"

    def __post_init__(self) -> None:
        if self.min_count < 1:
            raise ConfigError(f"options.min_count must be at least 1, got {self.min_count}")
        if self.max_size is not None and self.max_size < 1:
            raise ConfigError(f"options.max_size must be at least 1, got {self.max_size}")
        if self.normalizer not in NORMALIZERS:
            raise ConfigError(f"options.normalizer must be one of {', '.join(NORMALIZERS)}, got {self.normalizer!r}")


def read_options(options: Mapping[str, Any]) -> CharacterOptions:
    """Reads the options of `kind: characters`.

    Raises:
      ConfigError: an option is unknown or impossible, or tensorflow-transform is not installed.
    """
    found = parsing.from_dict(CharacterOptions, options, "options")
    if importlib.util.find_spec("tensorflow_transform") is None:
        raise ConfigError("kind: characters counts with tensorflow-transform, which is not installed: pip install 'tokenreel[tensorflow]'")
    return found


def count_characters(
    text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], normalizer: str
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
    """Counts the characters of some documents.

    Args:
      text: [num_bytes] uint8, valid UTF-8, documents end to end.
      offsets: [n + 1] int64 bounds of the documents in `text`.
      normalizer: name of what is applied to each document.

    Yields:
      [k] int64 code points, ascending, and their [k] float32 counts: once, or again where a count is more than a float32 holds exactly.

    >>> (points, counts), = count_characters(np.frombuffer(b"abA", dtype=np.uint8), np.array([0, 2, 3]), "lowercase")
    >>> points.tolist(), counts.tolist()
    ([97, 98], [2.0, 1.0])
    """
    separated, _ = ragged.surround(text, offsets, None, 0)  # NUL keeps a document's characters from those of the next
    normalized = normalize(separated.tobytes().decode(), normalizer)
    counts = np.bincount(np.frombuffer(normalized.encode("utf-32-le"), dtype="<u4").astype(np.int64), minlength=1)
    counts[0] -= len(offsets) - 1
    while counts.any():
        points = np.flatnonzero(counts)
        batch = np.minimum(counts[points], _MOST)
        counts[points] -= batch
        yield points, batch.astype(np.float32)


def choose_characters(lines: Iterable[bytes], options: CharacterOptions) -> tuple[list[str], list[int]]:
    r"""Chooses the characters of a vocabulary from the file that the analyzer wrote.

    Args:
      lines: "count codepoint", a line for each character that occurs often enough.
      options: the options of the vocabulary.

    Returns:
      The characters by descending count, ties by code point, and their counts.

    Raises:
      ConfigError: no character occurs often enough.

    >>> choose_characters([b"3.0 98", b"5 10", b"3 97"], CharacterOptions(max_size=2))
    (['\n', 'a'], [5, 3])
    """
    found = [(-int(float(count)), int(point)) for count, point in (line.split() for line in lines)]
    found = sorted(item for item in found if item[1] >= 0)[: options.max_size]  # the analyzer writes -1 where it has nothing to write
    if not found:
        raise ConfigError(f"no character occurs options.min_count = {options.min_count:,} times. Take a smaller one, or more text.")
    return [chr(point) for _, point in found], [-count for count, _ in found]

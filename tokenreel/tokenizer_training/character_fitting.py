"""What the workers of a job count of characters, and what it chooses of them, around a tf.Transform analyzer."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.config import parsing
from tokenreel.errors import ConfigError
from tokenreel.vocabularies import character_fitting
from tokenreel.vocabularies.character_fitting import CharacterOptions

# The analyzer adds up a batch in float32, which is exact so far; from there on in float64, exact to 2**53.
_MOST = 1 << 24


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
    counts = character_fitting.count(text, offsets, normalizer)
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
    found = ((int(point), int(float(number))) for number, point in (line.split() for line in lines))
    return character_fitting.choose({point: number for point, number in found if point >= 0}, options)  # -1 where it has nothing to write

"""Fits a vocabulary of characters to texts: counts them, and chooses those that it lists.

`fit` takes what a program has at hand: strings, or rows of a Hugging Face dataset. `tokenreel train-tokenizer` counts the sources of a
config on any number of workers, and chooses by the same rules, so both make the same file of the same texts.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.errors import ConfigError
from tokenreel.vocabularies.characters import NORMALIZERS, SPECIALS, CharacterVocabulary, normalize, write_character_model
from tokenreel.wording import brief

_TEXTS_AT_ONCE = 1 << 12


@dataclasses.dataclass(frozen=True, kw_only=True)
class CharacterOptions:
    """The `options` of `kind: characters`.

    Attributes:
      min_count: rarer characters are unknown.
      max_size: at most so many characters, the most frequent; of equally frequent ones those with the smaller code points.
      normalizer: applied to every document before it is counted, and by the vocabulary before it encodes.
      specials: names of further ids, such as `[<mask>, <cls>]`: they follow `<pad>`, `<s>`, `</s>` and `<unk>`, and no text makes them.
    """

    min_count: int = 1
    max_size: int | None = None
    normalizer: str = "none"
    specials: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "specials", tuple(self.specials))
        if self.min_count < 1:
            raise ConfigError(f"options.min_count must be at least 1, got {self.min_count}")
        if self.max_size is not None and self.max_size < 1:
            raise ConfigError(f"options.max_size must be at least 1, got {self.max_size}")
        if self.normalizer not in NORMALIZERS:
            raise ConfigError(f"options.normalizer must be one of {', '.join(NORMALIZERS)}, got {self.normalizer!r}")
        names = [*SPECIALS, *self.specials]
        if len(set(names)) != len(names) or any(len(name) < 2 for name in names):
            raise ConfigError(
                f"options.specials are names of two characters or more, each once and none of {', '.join(SPECIALS)}, got "
                f"{list(self.specials)}"
            )


def count(text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], normalizer: str) -> npt.NDArray[np.int64]:
    """Counts the characters of some documents.

    Args:
      text: [num_bytes] uint8, valid UTF-8, documents end to end.
      offsets: [n + 1] int64 bounds of the documents in `text`.
      normalizer: name of what is applied to each document.

    Returns:
      int64 [k] how often each code point occurs, up to the highest that does.

    >>> np.flatnonzero(count(np.frombuffer(b"abA", dtype=np.uint8), np.array([0, 2, 3]), "lowercase")).tolist()
    [97, 98]
    """
    separated, _ = ragged.surround(text, offsets, None, 0)  # NUL keeps a document's characters from those of the next
    normalized = normalize(separated.tobytes().decode(), normalizer)
    counts = np.bincount(np.frombuffer(normalized.encode("utf-32-le"), dtype="<u4").astype(np.int64), minlength=1)
    counts[0] -= len(offsets) - 1
    return counts


def choose(counts: Mapping[int, int], options: CharacterOptions) -> tuple[list[str], list[int]]:
    r"""Chooses the characters of a vocabulary.

    Args:
      counts: how often each code point occurs.
      options: the options of the vocabulary.

    Returns:
      The characters by descending count, ties by code point, and their counts.

    Raises:
      ConfigError: no character occurs often enough.

    >>> choose({98: 3, 10: 5, 97: 3}, CharacterOptions(max_size=2))
    (['\n', 'a'], [5, 3])
    """
    found = sorted((-number, point) for point, number in counts.items() if number >= options.min_count)[: options.max_size]
    if not found:
        raise ConfigError(f"no character occurs options.min_count = {options.min_count:,} times. Take a smaller one, or more text.")
    return [chr(point) for _, point in found], [-number for number, _ in found]


def fit(texts: Iterable[Any], path: str | os.PathLike[str], *, column: str = "text", **options: Any) -> CharacterVocabulary:
    """Fits a vocabulary of characters to texts, and writes its model file.

    Args:
      texts: strings, or rows with a column of them: a list, a generator, or a Hugging Face `Dataset` (streamed ones, too). They are read
        once.
      path: of the file to write, local or `gs://`: what `vocabulary.path` of a build names.
      column: of the texts, where rows are given.
      **options: those of `CharacterOptions`.

    Raises:
      ConfigError: an option is impossible, a row has no text, or no character occurs often enough.
    """
    path, chosen = os.fspath(path), CharacterOptions(**options)
    total = np.zeros(0, dtype=np.int64)
    for encoded in _batches(_encoded(texts, column)):
        sizes = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
        found = count(np.frombuffer(b"".join(encoded), dtype=np.uint8), ragged.offsets_of(sizes), chosen.normalizer)
        total = np.pad(total, (0, max(0, len(found) - len(total))))
        total[: len(found)] += found
    points = np.flatnonzero(total)
    characters, counts = choose(dict(zip(points.tolist(), total[points].tolist(), strict=True)), chosen)
    write_character_model(path, characters, chosen.normalizer, counts, chosen.specials)
    return CharacterVocabulary(path)


def _encoded(texts: Iterable[Any], column: str) -> Iterator[bytes]:
    if isinstance(texts, str):
        raise ConfigError("texts are several: give a list of strings, not one string")
    for number, row in enumerate(texts):
        text = row if isinstance(row, str) else row.get(column) if isinstance(row, Mapping) else None
        if not isinstance(text, str):
            raise ConfigError(f"text {number:,}: no string, nor a row with a string in column {column!r}: {brief(row)}")
        try:
            yield text.encode()
        except UnicodeEncodeError as error:
            raise ConfigError(f"text {number:,}: no text that UTF-8 can hold ({error})") from error


def _batches(texts: Iterable[bytes]) -> Iterator[Sequence[bytes]]:
    found = iter(texts)
    while batch := list(itertools.islice(found, _TEXTS_AT_ONCE)):
        yield batch

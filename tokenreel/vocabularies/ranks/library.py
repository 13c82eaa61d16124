"""Tiktoken itself, which has what our own loops do not encode, and the last word.

Tested in tests/tokenreel/vocabularies/ranks/test_vocabulary.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.errors import VocabularyError
from tokenreel.ragged import Ints
from tokenreel.vocabularies.base import Encoded

VERSION = "0.14.0"
r"""Whose `\p{L}` and `\s` were compared with `pre_tokenizers.code_point_data`, code point by code point: Unicode 16.0."""


class Library:
    """One tokenizer in tiktoken. Threads share it."""

    def __init__(self, path: str, pattern: str, ids: Mapping[bytes, int], special: Mapping[str, int], *, special_tokens: bool) -> None:
        """Loads it.

        Args:
          path: of the file, for errors.
          pattern: what cuts texts.
          ids: of pieces.
          special: ids of special tokens, by name.
          special_tokens: whether their names in a text are these tokens.

        Raises:
          VocabularyError: tiktoken does not take the pattern.
          ModuleNotFoundError: it is not installed.
        """
        import tiktoken

        self._path, self._special_tokens = path, special_tokens
        try:
            self._encoding: Any = tiktoken.Encoding("tokenreel", pat_str=pattern, mergeable_ranks=dict(ids), special_tokens=dict(special))
        except ValueError as error:
            raise VocabularyError(f"{path}: tiktoken does not take the pattern {pattern[:200]!r}: {error}") from None

    def encode_block(self, text: npt.NDArray[np.uint8], offsets: Ints) -> Encoded:
        """Encodes documents; see `Vocabulary.encode_block`.

        Raises:
          VocabularyError: its regular expressions give a document up, as they do where one unit is too long.
        """
        found = [np.zeros(0, dtype=np.int32)]
        for number, (begin, end) in enumerate(itertools.pairwise(offsets.tolist())):
            try:
                ids = self._encode(text[begin:end].tobytes().decode())
            except BaseException as error:  # a panic of Rust is no `Exception`
                if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
                    raise
                raise VocabularyError(
                    f"{self._path}: tiktoken cannot encode document {number} of {len(offsets) - 1} ({end - begin:,} bytes): {error}. Leave "
                    "such documents out with filters.max_characters."
                ) from error
            found.append(np.array(ids, dtype=np.int32))
        return np.concatenate(found), np.fromiter(map(len, found[1:]), dtype=np.int64, count=len(found) - 1)

    def _encode(self, text: str) -> list[int]:
        if self._special_tokens:
            return list(self._encoding.encode(text, allowed_special="all", disallowed_special=()))
        return list(self._encoding.encode_ordinary(text))

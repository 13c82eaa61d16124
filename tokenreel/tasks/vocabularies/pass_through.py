"""The vocabulary of features that hold ids already, or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenreel import keys
from tokenreel.tasks.vocabularies.base import Vocabulary


class PassThroughVocabulary(Vocabulary):
    """Leaves everything as it is."""

    def __init__(self, size: int, eos_id: Any | None = None) -> None:
        """Makes the vocabulary.

        Args:
          size: its number of ids.
          eos_id: the id that ends a sequence, if there is one.
        """
        self._size, self._eos_id = size, eos_id
        super().__init__()

    @property
    def _base_vocab_size(self) -> int:
        return self._size

    @property
    def size(self) -> int:
        """The number of ids."""
        return self._size

    @property
    def eos_id(self) -> Any | None:
        """See `Vocabulary`."""
        return self._eos_id

    @property
    def unk_id(self) -> None:
        """There is none."""
        return None

    @property
    def fingerprint(self) -> str:
        """See `Vocabulary`."""
        return keys.digest("pass_through", repr((self._size, self._eos_id)))

    def _encode(self, s: Any) -> Any:
        return s

    def encode_value(self, value: Any) -> Any:
        """Leaves the value as it is."""
        return value

    def _decode(self, ids: Sequence[Any]) -> Any:
        return ids

    def _encode_tf(self, s: Any) -> Any:
        return s

    def _decode_tf(self, ids: Any) -> Any:
        return ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PassThroughVocabulary) and (self._size, self._eos_id) == (other._size, other._eos_id)

    def __hash__(self) -> int:
        return hash((self._size, self._eos_id))

    def __str__(self) -> str:
        return f"PassThroughVocabulary(size={self._size}, eos_id={self._eos_id})"

"""Bytes as ids, those of ByT5 (Xue et al. 2022, arXiv:2105.13626)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tokenreel.tasks.vocabularies.base import Vocabulary
from tokenreel.vocabularies.byte_level import ByteVocabulary as FastVocabulary

_FIRST, _BYTES = 3, 256


class ByteVocabulary(Vocabulary):
    """UTF-8 bytes: 0 is padding, 1 EOS, 2 unknown, byte + 3, and then extra ids, which decode to nothing."""

    @property
    def bos_id(self) -> None:
        """There is none."""
        return None

    @property
    def eos_id(self) -> int:
        """See `Vocabulary`."""
        return 1

    @property
    def unk_id(self) -> int:
        """See `Vocabulary`."""
        return 2

    @property
    def _base_vocab_size(self) -> int:
        return _FIRST + _BYTES

    @property
    def fingerprint(self) -> str:
        """That of the vocabulary of this project with the same ids."""
        return FastVocabulary(self.extra_ids).fingerprint

    def _encode(self, s: str | bytes) -> list[int]:
        return [byte + _FIRST for byte in (s.encode() if isinstance(s, str) else s)]

    def _encode_text(self, text: bytes | str) -> npt.NDArray[np.int32]:
        data = text.encode() if isinstance(text, str) else text
        return np.frombuffer(data, dtype=np.uint8).astype(np.int32) + np.int32(_FIRST)

    def _decode(self, ids: Sequence[int]) -> str:
        return bytes(int(i) - _FIRST for i in ids if _FIRST <= i < _FIRST + _BYTES).decode("utf-8", "ignore")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByteVocabulary) and self.extra_ids == other.extra_ids

    def __hash__(self) -> int:
        return hash((type(self), self.extra_ids))

"""Bytes as tokens, with the ids of ByT5 (Xue et al. 2022, arXiv:2105.13626)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.format import token_spans
from tokenreel.vocabularies.base import Vocabulary, check_extra_ids


class ByteVocabulary(Vocabulary):
    """UTF-8 bytes, with the ids of ByT5 (Xue et al. 2021): 0 pad, 1 eos, 2 unk, byte + 3, and then extra ids, the last one first."""

    pad_id, bos_id, eos_id, unk_id = 0, None, 1, 2
    data = None

    def __init__(self, extra_ids: int = 0) -> None:
        """Makes the vocabulary.

        Args:
          extra_ids: sentinels `<extra_id_0>`, ... at the end of the ids in reverse order, as in SeqIO. ByT5 has 125 in all.

        Raises:
          VocabularyError: that is no number of ids.
        """
        self._extra_ids = check_extra_ids(extra_ids)
        self.vocab_size = 259 + extra_ids
        self.fingerprint = keys.digest("bytes", 3, extra_ids) if extra_ids else keys.digest("bytes", 3)

    @property
    def characters(self) -> list[str | None] | None:
        """Lists what each id stands for: ASCII characters; other bytes are parts of characters."""
        return [None] * 3 + [chr(byte) if byte < 128 else None for byte in range(256)] + [None] * self._extra_ids

    def piece(self, token: int) -> str | None:
        """Writes a token as SentencePiece and ByT5 do: `<pad>`, `</s>`, `<unk>`, ASCII characters as they are, `<0xE2>`, `<extra_id_0>`."""
        if token >= 259:
            return f"<extra_id_{self.vocab_size - 1 - token}>"
        if token < 3:
            return ("<pad>", "</s>", "<unk>")[token]
        return chr(token - 3) if token < 3 + 128 else f"<0x{token - 3:02X}>"

    def added_tokens(self) -> dict[int, bool]:
        """Lists what is no byte."""
        return dict.fromkeys([*range(3), *range(259, self.vocab_size)], True)

    def encode(self, text: str) -> list[int]:
        """Turns one text into ids."""
        return [byte + 3 for byte in text.encode()]

    def decode(self, ids: Sequence[int]) -> str:
        """Turns ids into text; broken UTF-8 shows as U+FFFD, extra ids show by name, pad, eos and unk are left out."""
        shown = (bytes([i - 3]) if i < 259 else str(self.piece(i)).encode() for i in map(int, ids) if 3 <= i < self.vocab_size)
        return b"".join(shown).decode("utf-8", "replace")

    def encode_block(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Encodes many documents at once."""
        return text.astype(np.int32) + np.int32(3), np.diff(offsets)

    def encode_block_with_offsets(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Encodes many documents at once; each byte has the span of the character that it is part of."""
        tokens, lengths = self.encode_block(text, offsets)
        counts = token_spans.count_characters(text)
        ends = (counts[1:] - np.repeat(counts[offsets[:-1]], lengths)).astype(np.int32)
        return tokens, lengths, ends - np.int32(1), ends

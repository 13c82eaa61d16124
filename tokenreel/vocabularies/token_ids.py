"""Texts that are token ids already, written as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.errors import VocabularyError
from tokenreel.vocabularies.base import Vocabulary, is_id

_MOST_DIGITS = 10  # of an id; zeros in front count
_SHOWN = 40  # bytes of a wrong number that an error shows
_DIGIT = np.zeros(256, dtype=bool)
_DIGIT[list(b"0123456789")] = True
_KNOWN = _DIGIT.copy()  # bytes that may stand in a document
_KNOWN[list(b" \t\n\v\f\r,[]")] = True


class PassThroughVocabulary(Vocabulary):
    """Ids as decimal numbers between white space, or as a JSON array: `5 17 2` or `[5, 17, 2]`.

    Brackets and commas count as white space. Documents with anything else, or with an id that there is not, are refused.
    """

    data = None

    def __init__(
        self,
        vocab_size: int | None = None,
        pad_id: int | None = None,
        bos_id: int | None = None,
        eos_id: int | None = None,
        unk_id: int | None = None,
    ) -> None:
        """Makes the vocabulary.

        Args:
          vocab_size: number of ids.
          pad_id: special id of the tokenizer that made the ids, if it has one, as the next three.
          bos_id: begins texts.
          eos_id: ends texts.
          unk_id: stands for what is not known.

        Raises:
          VocabularyError: an option is missing or impossible.
        """
        if isinstance(vocab_size, bool) or not isinstance(vocab_size, int) or not 0 < vocab_size < 1 << 31:
            raise VocabularyError(f"vocabulary.options.vocab_size must be the number of ids (pass_through needs it), got {vocab_size!r}")
        self.vocab_size = vocab_size
        special = {"pad_id": pad_id, "bos_id": bos_id, "eos_id": eos_id, "unk_id": unk_id}
        for name, value in special.items():
            if value is not None and not is_id(value, vocab_size):
                raise VocabularyError(
                    f"vocabulary.options.{name} must lie between 0 and {vocab_size - 1}, got {value!r}. Give a whole number."
                )
        self.pad_id, self.bos_id, self.eos_id, self.unk_id = pad_id, bos_id, eos_id, unk_id
        self.fingerprint = keys.digest("pass_through", vocab_size, *(-1 if value is None else value for value in special.values()))

    def encode(self, text: str) -> list[int]:
        """Reads the ids of one text.

        Raises:
          VocabularyError: it holds something else.
        """
        data = np.frombuffer(text.encode(), dtype=np.uint8)
        ids: list[int] = self.encode_block(data, np.array([0, len(data)]))[0].tolist()
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Writes ids as numbers; the text behind them is not known."""
        return " ".join(str(int(i)) for i in ids)

    def encode_block(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Reads the ids of many documents at once.

        Raises:
          VocabularyError: one of them is refused.
        """
        ids, lengths, _, _ = self.encode_block_with_offsets(text, offsets)
        return ids, lengths

    def encode_block_with_offsets(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Reads the ids of many documents at once; each has the span of its number.

        Raises:
          VocabularyError: one of them is refused.
        """
        ids, starts, digits, bad = self._parse(text, offsets)
        if len(bad):
            raise VocabularyError(f"document {bad[0]} of {len(offsets) - 1}: {self._problem(text, offsets, int(bad[0]))[1]}")
        lengths = np.diff(np.searchsorted(starts, offsets))
        begins = (starts - np.repeat(offsets[:-1], lengths)).astype(np.int32)  # what is not refused is ASCII
        return ids.astype(np.int32), lengths, begins, begins + digits.astype(np.int32)

    def refused(self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> Mapping[int, tuple[str, str]]:
        """Lists the documents that are not ids of this vocabulary."""
        return {int(i): self._problem(text, offsets, int(i)) for i in self._parse(text, offsets)[3]}

    def _parse(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Reads numbers, digit by digit of all of them at once.

        Returns:
          [numbers] int64 ids, [numbers] the byte at which each begins and how many digits it has, and the documents that hold something
          else or an id that there is not.
        """
        digit = np.append(_DIGIT[text], False)
        begins = digit.copy()
        begins[1:] &= ~digit[:-1]
        inner = offsets[:-1][offsets[:-1] < len(text)]
        begins[inner] = digit[inner]  # a document ends a number too
        starts = np.flatnonzero(begins)
        ends_digit = np.flatnonzero(digit[:-1] & (~digit[1:] | begins[1:])) + 1
        digits = ends_digit - starts
        ids = np.zeros(len(starts), dtype=np.int64)  # ten digits fit; longer numbers are refused below
        for place in range(min(_MOST_DIGITS, int(digits.max(initial=0)))):
            live = np.flatnonzero(digits > place) if place else slice(None)
            ids[live] = 10 * ids[live] + (text[starts[live] + place] - np.uint8(48))
        wrong = np.concatenate([np.flatnonzero(~_KNOWN[text]), starts[(digits > _MOST_DIGITS) | (ids >= self.vocab_size)]])
        bad = np.unique(np.searchsorted(offsets, wrong, side="right") - 1)
        return ids, starts, digits, bad

    def _problem(self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], document: int) -> tuple[str, str]:
        """Says what is wrong with a document that is refused: a word to count by, and a message."""
        words = text[offsets[document] : offsets[document + 1]].tobytes().translate(bytes.maketrans(b",[]", b"   ")).split()
        usable = (word.isdigit() and len(word) <= _MOST_DIGITS and int(word) < self.vocab_size for word in words)
        place = list(usable).index(False)
        shown = words[place][:_SHOWN].decode("utf-8", "replace")
        if not words[place].isdigit():
            return "not_token_ids", f"{shown!r} (number {place + 1}) is no token id: write whole numbers between white space"
        return "id_out_of_range", f"the id {shown} (number {place + 1}) is not below vocabulary.options.vocab_size, {self.vocab_size}"

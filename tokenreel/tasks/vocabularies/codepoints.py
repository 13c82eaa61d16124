"""Characters as ids, by their number in Unicode."""

from __future__ import annotations

from collections.abc import Sequence

from tokenreel import keys
from tokenreel.storage import files
from tokenreel.tasks.vocabularies.base import Vocabulary


class FullCodepointVocabulary(Vocabulary):
    """Every character of Unicode: its number is its id (CANINE, Clark et al. 2022, arXiv:2103.06874)."""

    LARGEST_CODEPOINT = 0x10FFFF
    PAD_CODEPOINT = 0
    EOS_CODEPOINT = 0xE005  # for private use: no text has it

    @property
    def eos_id(self) -> int:
        """See `Vocabulary`."""
        return self.EOS_CODEPOINT

    @property
    def pad_id(self) -> int:
        """See `Vocabulary`."""
        return self.PAD_CODEPOINT

    @property
    def unk_id(self) -> None:
        """There is none: every character has an id."""
        return None

    @property
    def _base_vocab_size(self) -> int:
        return self.LARGEST_CODEPOINT

    @property
    def fingerprint(self) -> str:
        """See `Vocabulary`."""
        return keys.digest("full_codepoint", self.extra_ids)

    def _encode(self, s: str) -> list[int]:
        return [ord(character) for character in s]

    def _decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(int(i)) for i in ids if i != self.EOS_CODEPOINT)

    def _decode_row(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FullCodepointVocabulary)

    def __hash__(self) -> int:
        return hash(type(self))


class PartialCodepointVocabulary(Vocabulary):
    """Some characters of Unicode: 0 is padding, 1 EOS, 2 unknown, and then the characters in their order."""

    PAD_CODEPOINT = FullCodepointVocabulary.PAD_CODEPOINT
    EOS_CODEPOINT = FullCodepointVocabulary.EOS_CODEPOINT
    UNK_CODEPOINT = 0xE004
    PAD_ID, EOS_ID, UNK_ID = 0, 1, 2

    def __init__(self, codepoints: Sequence[int], extra_ids: int = 0) -> None:
        """Makes the vocabulary.

        Args:
          codepoints: numbers of characters; one that comes again is left out.
          extra_ids: number of ids behind them.
        """
        ordered = dict.fromkeys((self.PAD_CODEPOINT, self.EOS_CODEPOINT, self.UNK_CODEPOINT, *codepoints))
        self._codepoints: tuple[int, ...] = tuple(ordered)
        self._ids = {codepoint: i for i, codepoint in enumerate(self._codepoints)}
        super().__init__(extra_ids=extra_ids)

    @classmethod
    def create_from_file(cls, vocab_file: str, extra_ids: int = 0) -> PartialCodepointVocabulary:
        """Reads the numbers of characters from a file, one a line."""
        return cls([int(line) for line in files.read_bytes(vocab_file).decode().split("\n") if line.strip()], extra_ids)

    @property
    def eos_id(self) -> int:
        """See `Vocabulary`."""
        return self.EOS_ID

    @property
    def pad_id(self) -> int:
        """See `Vocabulary`."""
        return self.PAD_ID

    @property
    def unk_id(self) -> int:
        """See `Vocabulary`."""
        return self.UNK_ID

    @property
    def _base_vocab_size(self) -> int:
        return len(self._codepoints)

    @property
    def fingerprint(self) -> str:
        """See `Vocabulary`."""
        return keys.digest("partial_codepoint", self.extra_ids, *self._codepoints)

    def _encode(self, s: str) -> list[int]:
        return [self._ids.get(ord(character), self.UNK_ID) for character in s]

    def _codepoint(self, i: int) -> int:
        return self._codepoints[i] if 0 <= i < len(self._codepoints) else self.UNK_CODEPOINT

    def _decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(self._codepoint(int(i))) for i in ids if i != self.EOS_ID)

    def _decode_row(self, ids: Sequence[int]) -> str:
        return "".join(chr(self._codepoint(i)) for i in ids)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PartialCodepointVocabulary):
            return False
        return (self._codepoints, self.extra_ids) == (other._codepoints, other.extra_ids)

    def __hash__(self) -> int:
        return hash((self._codepoints, self.extra_ids))

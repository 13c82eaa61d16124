"""A vocabulary of a list of words."""

from __future__ import annotations

from collections.abc import Sequence

from tokenreel import keys
from tokenreel.tasks.vocabularies.base import Vocabulary


class UnigramVocabulary(Vocabulary):
    """Words by their place in a list: 0 is PAD, then the words, and last UNK."""

    def __init__(self, unigrams: Sequence[str], split_on_space: bool = False) -> None:
        """Makes the vocabulary.

        Args:
          unigrams: the words, without PAD and UNK.
          split_on_space: whether a text is split at spaces; otherwise it is one word, and `decode_tf` gives the first word of a row alone,
            as in SeqIO.
        """
        super().__init__()
        self._words = ("PAD", *unigrams, "UNK")
        self._split_on_space = split_on_space
        self._ids = {word: i for i, word in enumerate(self._words)}

    @property
    def _base_vocab_size(self) -> int:
        return len(self._words)

    @property
    def bos_id(self) -> None:
        """There is none."""
        return None

    @property
    def eos_id(self) -> None:
        """There is none."""
        return None

    @property
    def unk_id(self) -> int:
        """The last id."""
        return len(self._words) - 1

    @property
    def fingerprint(self) -> str:
        """See `Vocabulary`."""
        return keys.digest("unigram", int(self._split_on_space), *self._words)

    def _encode(self, s: str) -> list[int]:
        return [self._ids.get(word, self.unk_id) for word in (s.split(" ") if self._split_on_space else [s])]

    def _decode(self, ids: Sequence[int]) -> str:
        return " ".join(self._words[i] for i in ids)

    def _decode_row(self, ids: Sequence[int]) -> str:
        return self._decode(ids if self._split_on_space else ids[:1])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, UnigramVocabulary):
            return False
        return (self._words, self._split_on_space) == (other._words, other._split_on_space)

    def __hash__(self) -> int:
        return hash((self._words, self._split_on_space))

"""The interface of every kind of vocabulary: text to token ids, and back."""

from __future__ import annotations

import abc
import functools
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from tokenreel.errors import VocabularyError

Encoded = tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]  # ids of texts end to end, and the number of ids of each text

# How symbols are written that are markers and not text, such as [SEP], <mask>, <PRE> and <|im_end|>; "▁" is SentencePiece's space.
_MARKER = re.compile(r"▁?(<\|[^|<>]+\|>|\[[A-Z][A-Z0-9_]*\]|</?[A-Z][A-Z0-9_]*>|</?s>|<(pad|unk|bos|eos|cls|sep|mask|extra_id_[0-9]+)>)")
_MASKS = ("<mask>", "[MASK]", "<MASK>")


class Vocabulary(abc.ABC):
    """Token ids and the text they stand for. Safe to share between threads; pickles without what it loaded.

    Attributes:
      vocab_size: number of ids.
      pad_id, bos_id, eos_id, unk_id: special ids, None where there is none.
      mask_id, cls_id, sep_id: the same, of kinds whose files tell.
      fingerprint: hash of everything that decides the ids; the same on every machine.
      releases_gil: whether encoding leaves other threads free to run.
      data: what the vocabulary was loaded from, to be copied beside a dataset; None where nothing is needed.
      beside: contents of the files that tell more about it, by name, to be copied as well.
      resolved: what the options that decide the ids came to, by option; none of kinds whose options are as they were given.
    """

    vocab_size: int
    pad_id: int | None
    bos_id: int | None
    eos_id: int | None
    unk_id: int | None
    mask_id: int | None = None
    cls_id: int | None = None
    sep_id: int | None = None
    fingerprint: str
    releases_gil: bool = True
    data: bytes | None
    beside: Mapping[str, bytes] = MappingProxyType({})
    resolved: Mapping[str, Any] = MappingProxyType({})

    def expect(self, size: int) -> None:  # noqa: B027  most kinds have nothing to load
        """Hears how many bytes a job will encode, about, before it begins, and so whether to load what encodes fast; ids are the same."""

    def piece(self, token: int) -> str | None:
        """Writes a token as the vocabulary itself does, such as "▁the"; None for ids without a name (all of them, in `pass_through`)."""
        return None

    def find(self, *names: str) -> int | None:
        """Finds the first of some pieces that the vocabulary has: its id, or None."""
        return next((self._ids_by_piece[name] for name in names if name in self._ids_by_piece), None)

    @functools.cached_property
    def _ids_by_piece(self) -> dict[str | None, int]:
        return {self.piece(token): token for token in reversed(range(self.vocab_size))}

    @functools.cached_property  # a job asks when it begins and when it ends
    def word_starts(self) -> npt.NDArray[np.bool_] | None:
        """Tells which tokens begin a word, bool [vocab_size]; None where tokens do not tell."""
        begins = np.array([(self.piece(token) or "").startswith("▁") for token in range(self.vocab_size)])
        return begins if begins.any() else None

    @property
    def characters(self) -> list[str | None] | None:
        """Lists what each id stands for, in vocabularies of characters or bytes; None in all others."""
        return None

    def added_tokens(self) -> dict[int, bool]:
        """Lists the ids that are no ordinary pieces: true for control symbols and the like, false for symbols that a text may hold too."""
        return {}

    def objective_facts(self, *, older: bool = False) -> dict[str, Any]:
        """Tells what objectives ask about a vocabulary: the `vocabulary` of `objectives.make_objective`. Leaves out what there is not.

        A build adds what its config names to `special_ids` and keeps the facts in the manifest (`manifest.pack_facts`), for the loader.

        Args:
          older: gives the facts as builds took them before manifests told `special_names`: special were pad, bos, eos and unk alone, and
            any piece with the name of a mask or a sentinel was one.

        Returns:
          `vocab_size`, `pad_id`, `eos_id`, `mask_id`, `special_ids` (sorted: the ids above, and every added token that is never text
          or is written like a marker), `special_names` (their ids by name, where they have one), `word_starts` (bool [vocab_size]),
          `characters` (a list of `vocab_size`), and `first_sentinel_id` and `num_sentinels` of T5's sentinels, whose ids descend.
        """
        special = {i for i in (self.pad_id, self.bos_id, self.eos_id, self.unk_id) if i is not None}
        if not older:
            special |= {i for i in (self.mask_id, self.cls_id, self.sep_id) if i is not None}
            special |= {i for i, never_text in self.added_tokens().items() if never_text or _MARKER.fullmatch(self.piece(i) or "")}
        names = self.names_of(special)
        find = self.find if older else lambda *wanted: next((names[name] for name in wanted if name in names), None)

        def sentinel(number: int) -> int | None:
            return find(f"<extra_id_{number}>", f"▁<extra_id_{number}>")

        first = sentinel(0)
        sentinels = itertools.takewhile(lambda i: sentinel(i) == (first or 0) - i, itertools.count())
        known = {
            "vocab_size": self.vocab_size,
            "pad_id": self.pad_id,
            "eos_id": self.eos_id,
            "special_ids": tuple(sorted(special)),
            "special_names": None if older else names,
            "word_starts": self.word_starts,
            "characters": self.characters,
            "mask_id": find(*_MASKS) if self.mask_id is None else self.mask_id,
            "first_sentinel_id": first,
            "num_sentinels": None if first is None else sum(1 for _ in sentinels),
        }
        return {name: value for name, value in known.items() if value is not None}

    def pieces(self) -> list[str | None]:
        """Writes each id as it stands in a text, white space in front of it included: a list of `vocab_size`, None for special ids.

        Bytes of a fallback that are no characters by themselves are U+FFFD. It takes some milliseconds for a thousand ids, so it is no fact
        that a build tells every objective.
        """
        special = set(self.objective_facts()["special_ids"])

        def written(token: int) -> str:
            piece = self.piece(token) or ""
            return piece.replace("\u2581", " ") if "\u2581" in piece else self.decode([token])

        return [None if token in special else written(token) for token in range(self.vocab_size)]

    def names_of(self, ids: Iterable[int]) -> dict[str, int]:
        """Gives the names of ids: the id by name, sorted by id, without those that have none."""
        named = ((self.piece(token), token) for token in sorted(ids))
        return {name: token for name, token in named if name is not None}

    @abc.abstractmethod
    def encode(self, text: str) -> list[int]:
        """Turns one text into ids; adds no bos or eos."""

    @abc.abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Turns ids into text."""

    @abc.abstractmethod
    def encode_block(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Encodes many documents at once, each as `encode` would.

        Args:
          text: [bytes] uint8, valid UTF-8, documents end to end.
          offsets: [n + 1] int64 their bounds.

        Returns:
          [tokens] int32 ids, documents end to end, and the [n] int64 number of tokens of each.
        """

    def refused(self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> Mapping[int, tuple[str, str]]:
        """Lists the documents of a block that this vocabulary cannot encode: by index, a word to count by and what is wrong."""
        return {}

    def encode_block_with_offsets(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Encodes many documents at once and says where their tokens lie in the text; see `tokenreel.format.token_spans`.

        Args:
          text: [bytes] uint8, valid UTF-8, documents end to end.
          offsets: [n + 1] int64 their bounds.

        Returns:
          tokens and lengths as `encode_block` gives them, and the [tokens] int32 begin and end of each in characters of its document.

        Raises:
          VocabularyError: this kind of vocabulary does not tell.
        """
        raise VocabularyError(
            f"{type(self).__name__} does not tell where its tokens lie in the text: set vocabulary.offsets to false, or use a vocabulary "
            "that does"
        )

    def for_documents(self, document_keys: npt.NDArray[np.uint64]) -> Vocabulary:
        """Gives the vocabulary as it encodes a block of documents with these [n] uint64 keys; one that samples draws by them."""
        return self

    def for_sentences(self, counts: npt.NDArray[np.int64]) -> Vocabulary:
        """Gives the vocabulary as it encodes the sentences of those documents, [n] `counts` of each."""
        return self


def check_extra_ids(number: int) -> int:
    """Returns a number of extra ids as it is.

    Raises:
      VocabularyError: it is no whole number of 0 or more.
    """
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise VocabularyError(f"vocabulary.options.extra_ids must be a whole number, 0 or more, got {number!r}")
    return number


def check_special_tokens(value: object) -> bool:
    """Checks `vocabulary.options.special_tokens`.

    Raises:
      VocabularyError: it is neither true nor false.
    """
    if not isinstance(value, bool):
        raise VocabularyError(f"vocabulary.options.special_tokens must be true or false, got {value!r}")
    return value


def check_memo_bytes(value: object) -> int:
    """Checks `vocabulary.options.memo_bytes`.

    Raises:
      VocabularyError: it is no whole number of 0 or more.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise VocabularyError(f"vocabulary.options.memo_bytes must be a whole number of bytes, 0 or more, got {value!r}")
    return value


def check_unpacked(path: str, data: bytes) -> bytes:
    """Gives the content of a model's file as it is.

    Raises:
      VocabularyError: it is compressed by gzip.
    """
    if data.startswith(b"\x1f\x8b"):
        raise VocabularyError(f"{path}: compressed. Unpack it first: gunzip {path}")
    return data


def is_id(value: object, vocab_size: int) -> TypeGuard[int]:
    """Says whether an option gives an id: a whole number below `vocab_size`; true and 1.0 are none."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < vocab_size

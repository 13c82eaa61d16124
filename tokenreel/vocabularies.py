"""What turns text into token ids and back: one interface for every kind of vocabulary."""

from __future__ import annotations

import abc
import functools
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import alignment, files, keys, sentencepiece_offsets, unit_memo
from tokenreel.errors import VocabularyError


class Vocabulary(abc.ABC):
    """Token ids and the text they stand for. Safe to share between threads; pickles without what it loaded.

    Attributes:
      vocab_size: number of ids.
      pad_id, bos_id, eos_id, unk_id: special ids, None where there is none.
      fingerprint: hash of everything that decides the ids; the same on every machine.
      releases_gil: whether encoding leaves other threads free to run.
      data: what the vocabulary was loaded from, to be copied beside a dataset; None where nothing is needed.
    """

    vocab_size: int
    pad_id: int | None
    bos_id: int | None
    eos_id: int | None
    unk_id: int | None
    fingerprint: str
    releases_gil: bool = True
    data: bytes | None

    def piece(self, token: int) -> str | None:
        """How the vocabulary itself writes a token, such as "▁the"; None for a kind that has no names."""
        return None

    def find(self, *names: str) -> int | None:
        """The id of the first of some pieces that the vocabulary has."""
        return next((self._ids_by_piece[name] for name in names if name in self._ids_by_piece), None)

    @functools.cached_property
    def _ids_by_piece(self) -> dict[str | None, int]:
        return {self.piece(token): token for token in reversed(range(self.vocab_size))}

    @property
    def word_starts(self) -> npt.NDArray[np.bool_] | None:
        """[vocab_size] which tokens begin a word; None where tokens do not tell."""
        begins = np.array([(self.piece(token) or "").startswith("▁") for token in range(self.vocab_size)])
        return begins if begins.any() else None

    @property
    def characters(self) -> list[str | None] | None:
        """What each id stands for, in vocabularies of characters or bytes."""
        return None

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
          text: [bytes] valid UTF-8, documents end to end.
          offsets: [n + 1] their bounds.

        Returns:
          [tokens] ids, documents end to end, and the [n] number of tokens of each.
        """

    def encode_block_with_offsets(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Encodes many documents at once and says where their tokens lie in the text; see `tokenreel.alignment`.

        Args:
          text: [bytes] valid UTF-8, documents end to end.
          offsets: [n + 1] their bounds.

        Returns:
          tokens and lengths as `encode_block` gives them, and the [tokens] int32 begin and end of each in characters of its document.

        Raises:
          VocabularyError: this kind of vocabulary does not know.
        """
        raise VocabularyError(
            f"{type(self).__name__} does not tell where its tokens lie in the text: set vocabulary.offsets to false, or use a vocabulary "
            "that does (sentencepiece, bytes)"
        )


class ByteVocabulary(Vocabulary):
    """UTF-8 bytes, with the ids of ByT5 (Xue et al. 2021): 0 pad, 1 eos, 2 unk, byte + 3."""

    vocab_size = 259
    pad_id, bos_id, eos_id, unk_id = 0, None, 1, 2
    fingerprint = keys.digest("bytes", 3)
    data = None

    @property
    def characters(self) -> list[str | None] | None:
        """What each id stands for: ASCII characters; other bytes are parts of characters."""
        return [None] * 3 + [chr(byte) if byte < 128 else None for byte in range(256)]

    def encode(self, text: str) -> list[int]:
        """Turns one text into ids."""
        return [byte + 3 for byte in text.encode()]

    def decode(self, ids: Sequence[int]) -> str:
        """Turns ids into text; what is no byte is left out, and broken UTF-8 shows as U+FFFD."""
        return bytes(i - 3 for i in ids if 3 <= i < 259).decode("utf-8", "replace")

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
        counts = alignment.count_characters(text)
        ends = (counts[1:] - np.repeat(counts[offsets[:-1]], lengths)).astype(np.int32)
        return tokens, lengths, ends - np.int32(1), ends


class SentencePieceVocabulary(Vocabulary):
    """A SentencePiece model (Kudo & Richardson 2018). Blocks go through `tokenreel.unit_memo`; the ids are the library's."""

    def __init__(self, path: str, memo_bytes: int = 128 << 20) -> None:
        """Reads the model.

        Args:
          path: of the .model file.
          memo_bytes: most memory a process spends on the ids of what it encoded before; 0 sends every document to the library.

        Raises:
          VocabularyError: the file cannot be read or is no model.
        """
        self._path = path
        self._memo_bytes = memo_bytes
        try:
            self.data: bytes | None = files.read_bytes(path)
        except OSError as error:
            raise VocabularyError(
                f"{path}: cannot read the SentencePiece model ({error.strerror or error}). Check vocabulary.path."
            ) from error
        self._lock = threading.Lock()
        self._loaded: Any = None
        processor = self._processor
        self.vocab_size = processor.vocab_size()
        ids = (processor.pad_id(), processor.bos_id(), processor.eos_id(), processor.unk_id())
        self.pad_id, self.bos_id, self.eos_id, self.unk_id = (i if i >= 0 else None for i in ids)
        self.fingerprint = keys.digest("sentencepiece", self.data or b"")

    @property
    def _processor(self) -> Any:
        with self._lock:
            if self._loaded is None:
                import sentencepiece

                try:
                    self._loaded = sentencepiece.SentencePieceProcessor(model_proto=self.data)
                except (RuntimeError, ValueError, OSError) as error:
                    raise VocabularyError(
                        f"{self._path}: not a SentencePiece model ({error}). Give the .model file that SentencePiece's trainer wrote."
                    ) from error
            return self._loaded

    def piece(self, token: int) -> str | None:
        """How the model writes a token."""
        return str(self._processor.id_to_piece(token))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_lock", "_loaded", "_ids_by_piece", "_piece_sizes")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock(), _loaded=None)

    def encode(self, text: str) -> list[int]:
        """Turns one text into ids."""
        ids: list[int] = self._processor.encode(text)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Turns ids into text."""
        return str(self._processor.decode([int(i) for i in ids]))

    def encode_block(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Encodes many documents at once."""
        memo = self._memo
        return memo.encode_block(text, offsets) if memo else unit_memo.encode_documents(self._processor, text, offsets)

    def encode_block_with_offsets(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Encodes many documents at once, with the spans that the library reports (`return_type="offset_mapping"`)."""
        tokens, lengths = self.encode_block(text, offsets)
        return sentencepiece_offsets.locate(self._processor, self._piece_sizes, text, offsets, tokens, lengths)

    @functools.cached_property
    def _piece_sizes(self) -> npt.NDArray[np.int64]:
        return sentencepiece_offsets.piece_sizes(self._processor)

    @property
    def _memo(self) -> unit_memo.UnitMemo | None:
        """The memo that all threads of this process share; None for models that only encode whole documents."""
        if not self._memo_bytes or not self.data:
            return None
        with _MEMOS_LOCK:
            name = self.fingerprint, self._memo_bytes
            if name not in _MEMOS:
                _MEMOS[name] = unit_memo.load(self.data, self._memo_bytes)
            return _MEMOS[name]


_MEMOS: dict[tuple[str, int], unit_memo.UnitMemo | None] = {}
_MEMOS_LOCK = threading.Lock()


def load_vocabulary(kind: str, path: str | None = None, **options: Any) -> Vocabulary:
    """Loads a vocabulary.

    Raises:
      VocabularyError: the kind or an option is unknown, or the file cannot be read.
    """
    makers: dict[str, Any] = {"sentencepiece": functools.partial(SentencePieceVocabulary, path or ""), "bytes": ByteVocabulary}
    known = {"sentencepiece": {"memo_bytes"}}
    if kind not in makers:
        raise VocabularyError(f"vocabulary.kind must be one of {', '.join(makers)}, got {kind!r}")
    for name in options:
        if name not in known.get(kind, ()):
            raise VocabularyError(f"vocabulary.options: {kind} takes no option {name!r}; it takes {sorted(known.get(kind, ())) or 'none'}")
    vocabulary: Vocabulary = makers[kind](**options)
    return vocabulary

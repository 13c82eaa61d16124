"""A SentencePiece model as a vocabulary, encoded through the unit memo where that is exact."""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys, ragged
from tokenreel.errors import PATHS_BEGIN, VocabularyError
from tokenreel.format import token_spans
from tokenreel.storage import files
from tokenreel.vocabularies import kept_arrays
from tokenreel.vocabularies.base import Encoded, Vocabulary, check_extra_ids, check_memo_bytes, check_special_tokens, check_unpacked
from tokenreel.vocabularies.kept_arrays import Built
from tokenreel.vocabularies.sentencepiece import model, nbest_sampling, sampler
from tokenreel.vocabularies.sentencepiece.offsets import ask, locate, piece_sizes
from tokenreel.vocabularies.special_tokens import SpecialTokens
from tokenreel.vocabularies.unit_memo import memo

# Encodes documents without special tokens: fields that change the model, text, offsets, and a random word of each document.
_EncodeDocuments = Callable[[bytes, npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.uint64]], Encoded]

# The memos of this process, by a digest of the model and the bytes they may take: vocabularies that are unpickled in it share them.
_MEMOS: dict[tuple[str, int], memo.UnitMemo | None] = {}
_MEMOS_LOCK = threading.Lock()
_FEW_BYTES = 256 << 10  # of text, which the library encodes in a tenth of the time that a process takes to load the loops of the memo


class SentencePieceVocabulary(Vocabulary):
    """A SentencePiece model (Kudo & Richardson 2018). Blocks go through a memo of units (`unit_memo`); the ids are the library's.

    Special tokens: a model's own control symbols (`</s>`) never come from text, for the library takes them apart like any text, and extra
    ids do not either. With `special_tokens` they do, as in SeqIO and in Hugging Face's tokenizers (`legacy=False`): the text is cut at
    their names. What stands before one is encoded as if it ended a text, so spaces there vanish if the model removes spaces at ends. What
    stands behind one continues the text: it begins with a space only if the text does. So "a <extra_id_0> b" is [▁a, <extra_id_0>, ▁b], and
    "a<extra_id_0>b" is [▁a, <extra_id_0>, b].
    """

    def __init__(
        self, path: str, memo_bytes: int = 128 << 20, extra_ids: int = 0, special_tokens: bool = False, data: bytes | None = None
    ) -> None:
        """Reads the model.

        Args:
          path: of the .model file, local or in a bucket.
          memo_bytes: most memory a process spends on the ids of what it encoded before; 0 sends every document to the library.
          extra_ids: sentinels `<extra_id_0>`, ... behind the model's ids in reverse order, as in SeqIO: the highest id is `<extra_id_0>`.
          special_tokens: whether names of control symbols, of unk and of extra ids in the text become these tokens.
          data: the file's content, where it was read already.

        Raises:
          VocabularyError: the file cannot be read or is no model, or an option does not go with it.
        """
        self._path, self._memo_bytes, self._extra_ids = path, check_memo_bytes(memo_bytes), check_extra_ids(extra_ids)
        self._uses_memo = memo_bytes > 0
        check_special_tokens(special_tokens)
        try:
            self.data: bytes | None = files.read_bytes(path) if data is None else data
        except OSError as error:
            raise VocabularyError(
                f"{path}: cannot read the SentencePiece model ({error.strerror or error}). Check vocabulary.path; "
                f"`tokenreel train-tokenizer` makes a model. {PATHS_BEGIN}"
            ) from error
        if not check_unpacked(path, self.data):  # the library takes it for a model that is not loaded yet
            raise VocabularyError(f"{path}: an empty file, no SentencePiece model. `tokenreel train-tokenizer` makes a model.")
        self._lock = threading.Lock()
        self._loaded: dict[bytes, Any] = {}
        processor = self._processor()
        self._model_size: int = processor.vocab_size()
        self.vocab_size = self._model_size + extra_ids
        ids = (processor.pad_id(), processor.bos_id(), processor.eos_id(), processor.unk_id())
        self.pad_id, self.bos_id, self.eos_id, self.unk_id = (i if i >= 0 else None for i in ids)
        self.fingerprint = keys.digest(
            "sentencepiece", self.data or b"", *((extra_ids, int(special_tokens)) if extra_ids or special_tokens else ())
        )
        names = {self._extra_name(i): i for i in range(self._model_size, self.vocab_size)}
        taken = {processor.id_to_piece(i).lstrip("▁") for i in range(self._model_size)} & set(names) if names else set()
        if taken:
            raise VocabularyError(
                f"{path}: the model has pieces of the names of extra ids already, such as {min(taken)}. Leave vocabulary.options.extra_ids "
                "out: objectives find the model's own."
            )
        self._special: SpecialTokens | None = None
        if special_tokens:
            reserved = (i for i in range(self._model_size) if processor.is_control(i) or processor.is_unknown(i))
            self._special = SpecialTokens({processor.id_to_piece(i): i for i in reserved if processor.id_to_piece(i)} | names)
            if _with_symbols(processor.normalize("a")).endswith("▁"):
                raise VocabularyError(
                    f"{path}: vocabulary.options.special_tokens needs a model whose spaces begin words, not one that ends them"
                )
            self._removes_spaces = "▁▁" not in _with_symbols(processor.normalize("a  a"))

    def expect(self, size: int) -> None:
        """Leaves few bytes to the library."""
        self._uses_memo = self._memo_bytes > 0 and size >= _FEW_BYTES

    def _extra_name(self, token: int) -> str:
        """Names an extra id: the highest is `<extra_id_0>`."""
        return f"<extra_id_{self.vocab_size - 1 - token}>"

    def _processor(self, changes: bytes = b"") -> Any:
        """Gives the library with the model, to which fields are appended that change it; loads it at the first use."""
        with self._lock:
            if changes not in self._loaded:
                import sentencepiece

                try:
                    self._loaded[changes] = sentencepiece.SentencePieceProcessor(model_proto=(self.data or b"") + changes)
                except (RuntimeError, ValueError, OSError) as error:
                    raise VocabularyError(
                        f"{self._path}: not a SentencePiece model ({error}). Give the .model file that `tokenreel train-tokenizer` or "
                        "SentencePiece's own trainer wrote."
                    ) from error
            return self._loaded[changes]

    @property
    def processor(self) -> Any:
        """The library's `SentencePieceProcessor` with the model as its file has it."""
        return self._processor()

    def piece(self, token: int) -> str | None:
        """Writes a token as the model does; extra ids by name."""
        if token >= self._model_size:
            return self._extra_name(token)
        try:
            return str(self._processor().id_to_piece(token))
        except UnicodeDecodeError as error:
            raise VocabularyError(f"{self._path}: not a SentencePiece model (piece {token} is no text: {error}). Copy it again.") from error

    def added_tokens(self) -> dict[int, bool]:
        """Lists the control symbols, unk and the extra ids, and with False the symbols that users defined."""
        try:
            types = enumerate(model.piece_types(self.data or b""))
        except ValueError as error:
            raise VocabularyError(f"{self._path}: not a SentencePiece model ({error}). Copy it again.") from error
        found = {i: kind != model.USER_DEFINED for i, kind in types if kind in (model.CONTROL, model.UNKNOWN, model.USER_DEFINED)}
        return found | dict.fromkeys(range(self._model_size, self.vocab_size), True)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_lock", "_loaded", "_ids_by_piece", "_piece_sizes")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock(), _loaded={})

    def encode(self, text: str) -> list[int]:
        """Turns one text into ids."""
        if self._special is not None:
            data = np.frombuffer(text.encode(), dtype=np.uint8)
            ids: list[int] = self.encode_block(data, np.array([0, len(data)]))[0].tolist()
        else:
            ids = self._processor().encode(text)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Turns ids into text; extra ids show by name, control symbols do not show."""
        return str(self._processor(self._extra_pieces).decode([int(i) for i in ids]))

    @functools.cached_property
    def _extra_pieces(self) -> bytes:
        """The pieces that SeqIO appends to a model; used for decoding only, so that no text becomes an extra id unasked."""
        return b"".join(model.user_symbol(f"▁{self._extra_name(i)}") for i in range(self._model_size, self.vocab_size))

    def encode_block(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Encodes many documents at once."""
        unused = np.zeros(len(offsets) - 1, dtype=np.uint64)
        return self._encode_parts(text, offsets, unused, lambda changes, text, offsets, _: self._encode(changes, text, offsets))

    def encode_block_with_offsets(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Encodes many documents at once, with the spans that the library reports (`return_type="offset_mapping"`)."""
        if self._special is None:
            return self._locate(b"", text, offsets)
        found = []

        def encode_parts(
            text: npt.NDArray[np.uint8],
            offsets: npt.NDArray[np.int64],
            begins: npt.NDArray[np.bool_],
            documents: npt.NDArray[np.int64],
        ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
            ids, lengths, spans = self._locate_parts(text, offsets, begins)
            characters = np.diff(token_spans.count_characters(text)[offsets])
            found.append((characters, documents, lengths, spans))
            return ids, lengths

        tokens, lengths = self._special.encode_block(text, offsets, encode_parts)
        spans = self._special.join_spans(tokens, *found[0])
        return tokens, lengths, *token_spans.unpack(spans)

    def _locate(
        self, changes: bytes, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Encodes documents without special tokens, and finds the spans of their tokens."""
        units = self._memo(changes)
        if units is None:
            return locate(self._processor(changes), self._piece_sizes, text, offsets, *self._encode(changes, text, offsets))
        tokens, lengths, begins, ends, right = units.encode_with_spans(text, offsets)
        if not right.all():
            spans = token_spans.pack(begins, ends)
            tokens, lengths, spans = ask(self._processor(changes), text, offsets, tokens, lengths, spans, np.flatnonzero(~right).tolist())
            begins, ends = token_spans.unpack(spans)
        return tokens, lengths, begins, ends

    def _locate_parts(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], begins: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Encodes parts of documents as `_encode_parts` does; also gives the packed span of each token in its part."""
        parts = []
        for which, changes in self._kinds_of_parts(text, offsets, begins):
            ids, lengths, begin, end = self._locate(changes, *ragged.take(text, offsets, which))
            parts.append((which, ids, lengths, token_spans.pack(begin, end)))
        which, ids, lengths, spans = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        order, bounds = np.argsort(which, kind="stable"), ragged.offsets_of(lengths)
        ids, new = ragged.take(ids, bounds, order)
        return ids, np.diff(new), ragged.take(spans, bounds, order)[0]

    @functools.cached_property
    def _piece_sizes(self) -> npt.NDArray[np.int64]:
        return piece_sizes(self._processor(), words=model.parse(self.data or b"").kind == model.WORD)

    def sample_block(
        self,
        text: npt.NDArray[np.uint8],
        offsets: npt.NDArray[np.int64],
        words: npt.NDArray[np.uint64],
        *,
        alpha: float,
        nbest_size: int,
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Encodes documents at random, as [n] random words decide.

        Args:
          text: [bytes] uint8, as for `encode_block`.
          offsets: [n + 1] int64, likewise.
          words: [n] uint64, one of each document.
          alpha: as in SentencePiece: the smoothing of a unigram model's probabilities, or the rate at which BPE leaves merges out.
          nbest_size: as in SentencePiece: unigram models draw among so many best segmentations, or -1 among all.

        Returns:
          int32 ids end to end, and the [n] int64 number of ids of each document.

        Raises:
          VocabularyError: no segmentation can be drawn from this kind of model.
        """

        def sample(changes: bytes, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], words: npt.NDArray[np.uint64]) -> Encoded:
            data, processor = text.tobytes(), self._processor(changes)
            documents = (data[start:stop] for start, stop in itertools.pairwise(offsets.tolist()))
            if nbest_size > 1 and self.is_unigram:
                return nbest_sampling.sample_best(processor, documents, words, alpha, nbest_size)
            return self._sampler.sample([processor.normalize(document.decode()).encode() for document in documents], words, alpha)

        return self._encode_parts(text, offsets, words, sample)

    @property
    def is_unigram(self) -> bool:
        """Whether the model is a unigram model; else it is BPE, the other kind that can be sampled.

        Raises:
          VocabularyError: it is of a kind that cannot.
        """
        return self._sampler.is_unigram

    def score(self, ids: Sequence[int]) -> float:
        """Adds up the model's scores of tokens."""
        return float(sum(self._processor().get_score(i) for i in ids))

    @property
    def _sampler(self) -> sampler.SegmentationSampler:
        return sampler.load(self.data or b"")

    def _encode_parts(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], words: npt.NDArray[np.uint64], encode: _EncodeDocuments
    ) -> Encoded:
        """Encodes documents with a function for text without special tokens: as they are, or the parts between special tokens."""
        if self._special is None:
            return encode(b"", text, offsets, words)

        def encode_parts(
            text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], begins: npt.NDArray[np.bool_], documents: npt.NDArray[np.int64]
        ) -> Encoded:
            part_words = keys.words_at(words[documents], np.arange(len(documents)) - np.searchsorted(documents, documents))
            kinds = self._kinds_of_parts(text, offsets, begins)
            encoded = [encode(changes, *ragged.take(text, offsets, which), part_words[which]) for which, changes in kinds]
            ids, lengths = (np.concatenate(arrays) for arrays in zip(*encoded, strict=True))
            out, out_offsets = ragged.take(
                ids, ragged.offsets_of(lengths), np.argsort(np.concatenate([which for which, _ in kinds]), kind="stable")
            )
            return out, np.diff(out_offsets)

        return self._special.encode_block(text, offsets, encode_parts)

    def _kinds_of_parts(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], begins: npt.NDArray[np.bool_]
    ) -> list[tuple[npt.NDArray[np.int64], bytes]]:
        """Tells which parts are encoded with which changes to the model: inside documents, a prefix stands for a space of the text only."""
        spaced = self._begin_with_space(text, offsets, ~begins & (np.diff(offsets) > 0))
        kinds = ((begins, b""), (spaced, model.PREFIX), (~begins & ~spaced, model.NO_PREFIX))
        return [(np.flatnonzero(chosen), changes) for chosen, changes in kinds]

    def _begin_with_space(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], asked: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        """Tells which of the parts that are asked for, [parts] bool, begin with a space that the model would remove, once normalised."""
        spaced = np.zeros(len(asked), dtype=bool)
        if not self._removes_spaces:  # a space at the beginning stays, and no prefix is needed
            return spaced
        which = np.flatnonzero(asked)
        byte = text[offsets[which]]  # the first of each part
        spaced[which[byte == model.SPACE]] = True
        for i in which[~self._plain_starts[byte]].tolist():
            normal = self._processor(model.MID_TEXT).normalize(text[offsets[i] : offsets[i + 1]].tobytes().decode())
            spaced[i] = _with_symbols(normal).startswith("▁")
        return spaced

    @functools.cached_property
    def _plain_starts(self) -> npt.NDArray[np.bool_]:
        """Tells of which first bytes of a part the normaliser need not be asked: [256] bool."""

        def build() -> Built:
            return {"told": model.find_plain_starts(model.parse(self.data or b""))}, None

        return kept_arrays.get("sentencepiece-starts", self._data_digest, build).arrays["told"].astype(bool)

    def _encode(
        self, changes: bytes, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Encodes documents without special tokens, through the memo where there is one."""
        units = self._memo(changes)
        return units.encode_block(text, offsets) if units else memo.encode_documents(self._processor(changes), text, offsets)

    @functools.cached_property
    def _data_digest(self) -> str:
        """Tells the model: for a text of a few kilobytes, reading the megabytes of the file takes longer than encoding."""
        return keys.digest(self.data or b"")

    def _memo(self, changes: bytes) -> memo.UnitMemo | None:
        """Gives the memo that all threads of this process share; None for models that only encode whole documents."""
        if not self._uses_memo or not self.data:
            return None
        memo_bytes = self._memo_bytes // (3 if self._special else 1)  # one for each kind of part
        with _MEMOS_LOCK:
            name = keys.digest(self._data_digest, changes), memo_bytes
            if name not in _MEMOS:
                _MEMOS[name] = memo.load(self.data + changes, memo_bytes)
            return _MEMOS[name]


def _with_symbols(normal: str) -> str:
    """Writes each space as U+2581, as models do that are not told otherwise."""
    return normal.replace(" ", "▁")

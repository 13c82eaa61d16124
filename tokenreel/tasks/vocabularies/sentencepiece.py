"""SentencePiece models with SeqIO's extra ids."""

from __future__ import annotations

import functools
import hashlib
import itertools
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys, ragged
from tokenreel.errors import VocabularyError
from tokenreel.format.wire import delimited
from tokenreel.storage import files
from tokenreel.tasks import step_turns
from tokenreel.tasks.vocabularies.base import PAD_ID, Vocabulary
from tokenreel.vocabularies.sentencepiece import model
from tokenreel.vocabularies.sentencepiece.vocabulary import SentencePieceVocabulary as FastVocabulary

_LOCK = threading.Lock()  # the library crashes where two threads load at once
_FEW_BYTES = 48 << 10  # of texts; fewer are encoded one by one, since a block costs more than a millisecond of its own
_TEXT = object()  # in place of a shape
_ENCODE_A_VALUE = ("encode_value", "_encode_text", "encode", "_encode", "encode_block")


class SentencePieceVocabulary(Vocabulary):
    """A SentencePiece model (Kudo & Richardson 2018), and behind its pieces the extra ids that SeqIO adds.

    Extra ids are pieces of the model: `<extra_id_0>` at the beginning of a word becomes one, and `vocab_size` counts them. Texts are
    encoded by the library, blocks of texts by `tokenreel.vocabularies`, whose ids are the library's. It pickles without the model,
    which each process loads once.
    """

    def __init__(
        self,
        sentencepiece_model_file: str,
        extra_ids: int = 0,
        normalizer_spec_overrides: Any | None = None,
        reverse_extra_ids: bool = True,
        use_fast_tokenizer: bool = False,
    ) -> None:
        """Makes the vocabulary; the model is read when it is first used.

        Args:
          sentencepiece_model_file: path of the .model file, local or in a bucket.
          extra_ids: ids `<extra_id_0>`, ... behind the model's.
          normalizer_spec_overrides: settings that replace those of the model's normaliser and denormaliser: a mapping such as
            `{"remove_extra_whitespaces": False}`, or the library's message `NormalizerSpec`.
          reverse_extra_ids: whether `<extra_id_0>` is the highest id, as T5's sentinels go; otherwise it is the first behind the model's.
          use_fast_tokenizer: which of TensorFlow Text's two tokenizers `tf_tokenizer` gives; the ids are the same.
        """
        self._sentencepiece_model_file = str(sentencepiece_model_file)
        self._normalizer_spec_overrides = _normalizer_message(normalizer_spec_overrides)
        self._reverse_extra_ids = reverse_extra_ids
        self._use_fast_tokenizer = use_fast_tokenizer
        super().__init__(extra_ids=extra_ids)

    @property
    def sentencepiece_model_file(self) -> str:
        """The path of the model."""
        return self._sentencepiece_model_file

    def load_model(self) -> None:
        """Reads the model now."""
        _ = self._model

    @property
    def _model(self) -> FastVocabulary:
        with _LOCK:
            return _load(self._sentencepiece_model_file, self._extra_ids, self._normalizer_spec_overrides, self._reverse_extra_ids)

    @property
    def sp_model(self) -> bytes:
        """The model with its extra ids, serialised."""
        return self._model.data or b""

    @property
    def tokenizer(self) -> Any:
        """The library's `SentencePieceProcessor`."""
        return self._model.processor

    @property
    def tf_tokenizer(self) -> Any:
        """TensorFlow Text's tokenizer with the same model; that package must be installed."""
        import tensorflow_text as tf_text

        kind = tf_text.FastSentencepieceTokenizer if self._use_fast_tokenizer else tf_text.SentencepieceTokenizer
        return kind(model=self.sp_model)

    @property
    def bos_id(self) -> int:
        """The model's, -1 where it has none."""
        return int(self.tokenizer.bos_id())

    @property
    def eos_id(self) -> int:
        """The model's, -1 where it has none."""
        return int(self.tokenizer.eos_id())

    @property
    def unk_id(self) -> int:
        """The model's."""
        return int(self.tokenizer.unk_id())

    @property
    def vocab_size(self) -> int:
        """The number of pieces, which extra ids are among."""
        return self._base_vocab_size

    @property
    def _base_vocab_size(self) -> int:
        return int(self._model.vocab_size)

    @property
    def fingerprint(self) -> str:
        """See `Vocabulary`: of the model's content, wherever the file lies."""
        return keys.digest("sentencepiece", self.sp_model)

    def _encode(self, s: str) -> list[int]:
        return list(self._model.encode(s))

    def encode_block(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Encodes many texts at once, see `tokenreel.vocabularies.Vocabulary.encode_block`; the ids are those of `encode`."""
        vocabulary = self._model
        with step_turns.others_may():
            return vocabulary.encode_block(text, offsets)

    def encode_values(self, values: Sequence[Any]) -> list[Any]:
        """See `Vocabulary`; texts are encoded as a block, unless a subclass encodes each in a way of its own."""
        texts: list[bytes] = []
        parts = [_add_texts(value, texts) for value in values] if self._encodes_as_ever() else []
        if not texts or sum(map(len, texts)) < _FEW_BYTES or None in parts:
            return super().encode_values(values)
        ids, counts = self.encode_block(np.frombuffer(b"".join(texts), np.uint8), ragged.offsets_of(np.array([*map(len, texts)])))
        each = (ids[start:stop] for start, stop in itertools.pairwise(ragged.offsets_of(counts).tolist()))
        return [next(each) if shape is _TEXT else _fill(shape, each) for shape in parts]

    def _encodes_as_ever(self) -> bool:
        """Says whether nothing of what `encode_value` calls was replaced."""
        mine = (getattr(type(self), name) is getattr(SentencePieceVocabulary, name) for name in _ENCODE_A_VALUE)
        return all(mine) and vars(self).keys().isdisjoint(_ENCODE_A_VALUE)

    def _decode(self, ids: Sequence[int]) -> str:
        size, unk = self._base_vocab_size, self.unk_id
        return str(self.tokenizer.decode([unk if i >= size else int(i) for i in ids]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SentencePieceVocabulary) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self._sentencepiece_model_file, self._extra_ids, self._reverse_extra_ids))

    def __str__(self) -> str:
        digest = hashlib.md5(self.sp_model).hexdigest()
        return f"SentencePieceVocabulary(file={self.sentencepiece_model_file}, extra_ids={self._extra_ids}, spm_md5={digest})"


def _add_texts(value: Any, texts: list[bytes]) -> Any:
    """Adds the texts of a value to a list; gives their shape, `_TEXT` for a text itself, or None for a value of anything else."""
    if isinstance(value, (bytes, str)):
        texts.append(_to_utf8(value))
        return _TEXT
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "OSU":
        return None
    found = value.ravel().tolist()
    if not all(isinstance(each, (bytes, str)) for each in found):
        return None
    texts += map(_to_utf8, found)
    return value.shape


def _to_utf8(text: bytes | str) -> bytes:
    """Gives a text's bytes; what is no text in them is replaced."""
    if isinstance(text, str):
        return text.encode()
    try:
        text.decode()
    except UnicodeDecodeError:
        return text.decode("utf-8", "replace").encode()
    return text


def _fill(shape: tuple[int, ...], values: Iterator[Any]) -> npt.NDArray[np.object_]:
    """Makes an array of objects."""
    array = np.empty(shape, dtype=object)
    for place in np.ndindex(shape):
        array[place] = next(values)
    return array


@functools.cache
def _load(path: str, extra_ids: int, overrides: bytes | None, reverse: bool) -> FastVocabulary:
    """Reads a model once a process, and adds to it what SeqIO adds; warns where its padding is not id 0."""
    try:
        data = files.read_bytes(path)
    except OSError as error:
        raise VocabularyError(
            f"{path}: cannot read the SentencePiece model ({error.strerror or error}). Give the path of a .model file."
        ) from error
    numbers = reversed(range(extra_ids)) if reverse else range(extra_ids)
    added = b"".join(model.user_symbol(f"▁<extra_id_{number}>") for number in numbers)
    # A message that comes twice is merged with the first, field by field: 3 is the normaliser's, 5 the denormaliser's.
    changes = b"" if overrides is None else b"".join(delimited(bytes([number << 3 | 2]), overrides) for number in (3, 5))
    loaded = FastVocabulary(path, data=data + added + changes if data else data)
    if loaded.pad_id != PAD_ID:
        warnings.warn(f"{path}: padding is id {loaded.processor.pad_id()} in this model, and {PAD_ID} in every task", stacklevel=3)
    return loaded


_NORMALIZER_FIELDS = {
    "name": 1, "precompiled_charsmap": 2, "add_dummy_prefix": 3, "remove_extra_whitespaces": 4, "escape_whitespaces": 5,
    "normalization_rule_tsv": 6,
}  # fmt: skip


def _normalizer_message(overrides: Any | None) -> bytes | None:
    """Serialises settings of a normaliser.

    Raises:
      VocabularyError: one is not known.
    """
    if overrides is None or isinstance(overrides, bytes):
        return overrides
    if not isinstance(overrides, Mapping):
        return bytes(overrides.SerializeToString(deterministic=True))
    unknown = sorted(set(overrides) - set(_NORMALIZER_FIELDS))
    if unknown:
        raise VocabularyError(
            f"a normaliser has no setting {unknown[0]!r}: normalizer_spec_overrides takes {', '.join(_NORMALIZER_FIELDS)}"
        )
    message = b""
    for name, number in _NORMALIZER_FIELDS.items():
        if name in overrides:
            value = overrides[name]
            if isinstance(value, bool):
                message += bytes([number << 3, int(value)])
            else:
                data = value.encode() if isinstance(value, str) else bytes(value)
                message += delimited(bytes([number << 3 | 2]), data)
    return message

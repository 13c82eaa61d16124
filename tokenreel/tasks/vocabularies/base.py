"""The interface of SeqIO's vocabularies: text to ids and back, in Python and in TensorFlow."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.tasks.vocabularies import in_tensorflow

PAD_ID = 0


class Vocabulary(abc.ABC):
    """Text to ids and back, as in SeqIO: id 0 is padding, `extra_ids` further ids stand behind the others.

    A subclass gives `eos_id`, `unk_id`, `_base_vocab_size`, `_encode` and `_decode`. SeqIO asks for `_encode_tf` and `_decode_tf` too; here
    they are made of the others where a subclass leaves them out. Such ones run in Python, one at a time, also inside `tf.data`.
    """

    def __init__(self, extra_ids: int = 0) -> None:
        self._extra_ids = extra_ids or 0

    @property
    def bos_id(self) -> int | None:
        """The id that begins texts; kinds that do not tell raise NotImplementedError, as in SeqIO."""
        raise NotImplementedError("need to implement bos_id")

    @property
    @abc.abstractmethod
    def eos_id(self) -> int | None:
        """The id that ends texts, or None."""

    @property
    def pad_id(self) -> int:
        """The id of padding."""
        return PAD_ID

    @property
    @abc.abstractmethod
    def unk_id(self) -> int | None:
        """The id of what has no id, or None."""

    @property
    def extra_ids(self) -> int:
        """How many ids were added to the vocabulary's own."""
        return self._extra_ids

    @property
    def vocab_size(self) -> int:
        """How many ids there are, extra ids included."""
        return self._base_vocab_size + self.extra_ids

    @property
    @abc.abstractmethod
    def _base_vocab_size(self) -> int:
        """How many ids there are without extra ids, PAD, EOS and UNK included."""

    @property
    def fingerprint(self) -> str | None:
        """A hash of everything that decides the ids; None where a subclass does not tell."""
        return None

    @abc.abstractmethod
    def _encode(self, s: Any) -> Sequence[Any]:
        """Turns a text into ids."""

    @abc.abstractmethod
    def _decode(self, ids: Sequence[Any]) -> Any:
        """Turns a list of ids into text."""

    def encode(self, s: Any) -> Sequence[Any]:
        """Turns a text into ids, without EOS."""
        return self._encode(s)

    def decode(self, ids: Iterable[Any]) -> Any:
        """Turns ids into text, up to and with the first EOS; what lies above the vocabulary counts as unknown."""
        clean = _as_list(ids)
        if self.unk_id is not None:
            size = self._base_vocab_size
            clean = [self.unk_id if i >= size else i for i in clean]
        if self.eos_id is not None and self.eos_id in clean:
            clean = clean[: clean.index(self.eos_id) + 1]
        return self._decode(clean)

    def encode_value(self, value: Any) -> Any:
        """Encodes a feature of an example as the step `tokenize` does.

        Args:
          value: a text as `bytes` or `str`, an array of texts of any rank, or whatever else `encode` takes.

        Returns:
          int32 [tokens] for a text; for an array of texts an array of objects of its shape, int32 [tokens] each.
        """
        if isinstance(value, (bytes, str)):
            return self._encode_text(value)
        if isinstance(value, np.ndarray) and value.dtype.kind in "OSU":
            encoded = np.empty(value.shape, dtype=object)
            for place in np.ndindex(value.shape):
                encoded[place] = self.encode_value(value[place])
            return encoded
        return self.encode(value)

    def encode_values(self, values: Sequence[Any]) -> list[Any]:
        """Encodes a feature of many examples, each as `encode_value` does."""
        return [self.encode_value(value) for value in values]

    def _encode_text(self, text: bytes | str) -> npt.NDArray[np.int32]:
        try:
            ids = self.encode(text.decode("utf-8", "replace") if isinstance(text, bytes) else text)
        except NotImplementedError:  # a subclass that was written for tf.data alone
            ids = self.encode_tf(text).numpy()
        return np.asarray(ids, dtype=np.int32)

    def _encode_tf(self, s: Any) -> Any:
        """Turns a string tensor into ids."""
        return in_tensorflow.encode(self._encode_text, s)

    def encode_tf(self, s: Any) -> Any:
        """Turns a string tensor into ids: int32 [tokens] for a scalar; ragged, with one axis more, for texts of any rank."""
        return self._encode_tf(s)

    def _decode_tf(self, ids: Any) -> Any:
        """Turns a tensor of ids into strings."""
        return in_tensorflow.decode(self._decode_row, ids)

    def _decode_row(self, ids: Sequence[int]) -> str:
        """Turns the ids of a row of a tensor into text; kinds whose `decode_tf` and `decode` differ in SeqIO say so here."""
        return str(self._decode(ids))

    def decode_tf(self, ids: Any) -> Any:
        """Turns a tensor of ids, [..., tokens], into strings [...], up to and with the first EOS of each."""
        return self._decode_tf(in_tensorflow.clean(ids, self)) if in_tensorflow.holds_ids(ids) else in_tensorflow.no_text()


def _as_list(ids: Any) -> list[Any]:
    """Gives ids as a list; of a tensor or an array of one axis as numbers of Python, which are far quicker."""
    values = ids.numpy() if hasattr(ids, "numpy") else ids
    return list(values.tolist()) if isinstance(values, np.ndarray) and values.ndim == 1 else list(values)

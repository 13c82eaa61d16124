"""Single texts as rows, as a build makes them of documents: for whoever asks a model about a text that is in no dataset.

The ids come from the vocabulary that made the dataset, and their places from the layouts that the build uses, so a text gives online the
row that it would have offline with `packing.mode: pad`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ConfigError
from tokenreel.format import schema, token_spans
from tokenreel.format.manifest import Manifest
from tokenreel.layouts import filling, one_document
from tokenreel.vocabularies.base import Vocabulary

Arrays = dict[str, npt.NDArray[Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rows:
    """Makes rows of texts.

    Attributes:
      vocabulary: turns text into ids.
      first_id: stands in front of each text (`packing.add_bos`), such as a classifier's token; None for nothing.
      last_id: stands behind it (`packing.add_eos`, `packing.separator_id`); a text that is cut loses it.
      pad_id: fills rows up.
      align: rows have a multiple of so many positions, for models that downsample by this factor.
    """

    vocabulary: Vocabulary
    first_id: int | None = None
    last_id: int | None = None
    pad_id: int = 0
    align: int = 1

    def __post_init__(self) -> None:
        if self.align < 1:
            raise ConfigError(f"align must be at least 1, got {self.align}")

    @classmethod
    def of(cls, manifest: Manifest, vocabulary: Vocabulary) -> Rows:
        """Makes rows as a dataset has them.

        Raises:
          ConfigError: its documents were cut into sentences, each tokenized by itself.
        """
        packing: Mapping[str, Any] = manifest.config.get("packing", {})
        if packing.get("sentences"):
            raise ConfigError(f"packing.sentences: {packing['sentences']} cuts documents before they are tokenized, which a row is not")
        separator = packing.get("separator_id")
        last = vocabulary.find(separator) if isinstance(separator, str) else separator
        return cls(
            vocabulary=vocabulary,
            first_id=manifest.vocabulary.bos_id if packing.get("add_bos") else None,
            last_id=manifest.vocabulary.eos_id if packing.get("add_eos") else last,
            pad_id=manifest.pad_id,
            align=int(packing.get("align") or 1),
        )

    def ids(self, text: str) -> npt.NDArray[np.int32]:
        """Gives the ids of a text with what stands around it: int32 [n]."""
        ends = [[] if number is None else [number] for number in (self.first_id, self.last_id)]
        return np.array([*ends[0], *self.vocabulary.encode(text), *ends[1]], dtype=np.int32)

    def string_to_array(self, text: str, length: int | None = None) -> npt.NDArray[np.int32]:
        """Gives the row of a text, cut if it is longer: int32 [length].

        Args:
          text: of the row.
          length: positions; None for as many as the text takes, rounded up to a multiple of `align`.

        Raises:
          ConfigError: the length is no multiple of `align`.
        """
        ids = self.ids(text)
        if length is None:
            length = max(self.align, round_up(len(ids), self.align))
        row: npt.NDArray[np.int32] = self._lay_out(ids, length, "truncate")[schema.TOKENS][0]
        return row

    def wrap(self, text: str, length: int) -> npt.NDArray[np.int32]:
        """Gives all of a text in as many rows as it takes: int32 [n, length], n at least 1.

        Raises:
          ConfigError: the length is no multiple of `align`.
        """
        rows: npt.NDArray[np.int32] = self.arrays(text, length, long_documents="split")[schema.TOKENS]
        return rows

    def arrays(self, text: str, length: int, *, long_documents: Literal["truncate", "split"] = "truncate") -> Arrays:
        """Gives the arrays that a dataset's examples of the text would have, for models and for `Objective.apply`.

        Args:
          text: of the rows.
          length: positions.
          long_documents: of a text that is longer: cut it, or go on in further rows.

        Returns:
          `tokens` int32 [n, length], `document_starts` bool of the same shape, `num_tokens` int32 [n].

        Raises:
          ConfigError: the length is no multiple of `align`.
        """
        return self._lay_out(self.ids(text), length, long_documents)

    def _lay_out(self, ids: npt.NDArray[np.int32], length: int, long_documents: Literal["truncate", "split"]) -> Arrays:
        if length < 1 or length % self.align:
            raise ConfigError(f"a row has a multiple of {self.align} positions, got {length}: take {max(1, round_up(length, self.align))}")
        if not len(ids):  # a layout has no example for nothing
            empty = {schema.TOKENS: np.full((1, length), self.pad_id, np.int32), schema.DOCUMENT_STARTS: np.zeros((1, length), np.bool_)}
            return {**empty, schema.NUM_TOKENS: np.zeros(1, np.int32)}
        layout = one_document.pad([len(ids)], length, long_documents=long_documents)
        tokens, starts, counts = filling.fill(ids, [0], layout, length, self.pad_id)
        return {schema.TOKENS: tokens, schema.DOCUMENT_STARTS: starts, schema.NUM_TOKENS: counts.astype(np.int32)}

    def example(self, text: str, length: int, objective: Any, *, key: int = 0, seed: int = 0) -> Arrays:
        """Gives what an objective makes of a text, such as its typing errors: arrays of one example.

        Args:
          text: of the row.
          length: positions.
          objective: from `dataset.objective(...)` or `objectives.make_objective`.
          key: number of the example: another one draws otherwise.
          seed: of the random choices.

        Raises:
          ConfigError: the length is no multiple of `align`.
        """
        made = objective.apply(self.arrays(text, length), [key], seed=seed)
        return {name: values[0] for name, values in made.items()}

    def positions(self, text: str, spans: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Finds where characters of a text stand in its row, were it long enough.

        Args:
          text: of the row.
          spans: int [k, 2] first character and the one behind the last, of each span.

        Returns:
          int64 [k, 2] first position and the one behind the last; -1 for spans of which nothing stands there.
        """
        begins, ends = self._spans(text, self.vocabulary)
        wanted = np.asarray(spans, dtype=np.int64).reshape(-1, 2)
        first = 0 if self.first_id is None else 1
        # A token stands in a span if it holds a character of it; of those with empty spans, the character counts that they are a part of.
        held = np.asarray((begins < wanted[:, 1:]) & (np.maximum(ends, begins + 1) > wanted[:, :1]))
        found = np.stack([held.argmax(axis=1), held.shape[1] - held[:, ::-1].argmax(axis=1)], axis=1) if held.shape[1] else wanted
        found = np.where(held.any(axis=1, keepdims=True), found + first, token_spans.NO_SPAN)
        return found.astype(np.int64)

    def align_tokens(self, text: str, tokens: Vocabulary) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Aligns a text's tokens of another vocabulary with the positions of its row.

        Args:
          text: of the row.
          tokens: another vocabulary, of words or parts of words.

        Returns:
          int32 [k] ids of the text in it, and int64 [k, 2] the positions of each, as `positions` gives them.
        """
        data = np.frombuffer(text.encode("utf-8"), dtype=np.uint8)
        ids, _, begins, ends = tokens.encode_block_with_offsets(data, np.array([0, len(data)]))
        return ids, self.positions(text, np.stack([begins, np.maximum(ends, begins + 1)], axis=1))

    @staticmethod
    def _spans(text: str, vocabulary: Vocabulary) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        data = np.frombuffer(text.encode("utf-8"), dtype=np.uint8)
        _, _, begins, ends = vocabulary.encode_block_with_offsets(data, np.array([0, len(data)]))
        return begins, ends


def round_up(length: int, factor: int) -> int:
    """Gives the next multiple of a factor from a length on.

    >>> [round_up(length, 4) for length in (0, 1, 4, 5)], round_up(7, 7)
    ([0, 4, 4, 8], 7)
    """
    return length + -length % factor

"""Cuts normalised texts into units, which are segmented independently of each other: no piece of the model reaches over their bounds."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from tokenreel.ragged import Ints


@dataclasses.dataclass(frozen=True)
class Units:
    """Texts that are cut into units.

    Attributes:
      text: uint8 [bytes] the texts end to end.
      bounds: int64 [units + 1] where each unit begins in `text`, then where the last ends.
      document: int64 [units] the text that each unit lies in.
      document_start: int64 [units] where that text begins in `text`.
    """

    text: npt.NDArray[np.uint8]
    bounds: Ints
    document: Ints
    document_start: Ints

    def distinct(self) -> tuple[list[bytes], Ints]:
        """Lists the distinct units, and says which of them each is: int64 [units]."""
        import pyarrow as pa

        buffers = [None, pa.py_buffer(self.bounds.astype(np.int32)), pa.py_buffer(np.ascontiguousarray(self.text))]
        encoded = pa.BinaryArray.from_buffers(pa.binary(), len(self.bounds) - 1, buffers).dictionary_encode()
        return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)


def cut_units(text: npt.NDArray[np.uint8], offsets: Ints, cut: npt.NDArray[np.bool_]) -> Units:
    """Cuts texts wherever no piece lies between two bytes.

    Args:
      text: uint8 [bytes] the texts end to end.
      offsets: int64 [texts + 1] where each begins in `text`, then where the last ends.
      cut: bool [256, 256], true for two bytes that no piece holds side by side.
    """
    # True where a unit begins. Cut between all texts, too, for the model never sees two of them side by side.
    starts = np.ones(len(text) + 1, dtype=bool)
    starts[1:-1] = cut[text[:-1], text[1:]]
    starts[offsets] = True
    bounds = np.flatnonzero(starts)
    document = np.searchsorted(offsets, bounds[:-1], side="right") - 1
    return Units(text, bounds, document, offsets[document])

"""Fill-in-the-middle: documents are cut in three and put in another order, so that a causal model learns to infill.

It is done to whole documents, before they are laid out. A document that fits an example then keeps all its parts, which documents that
are rearranged after cutting do not.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from tokenreel import keys, rates
from tokenreel.errors import ConfigError
from tokenreel.layouts.filling import copy_stretches
from tokenreel.objectives.base import Array, Arrays, Bools, Ints, Objective, check_id


@dataclasses.dataclass(frozen=True)
class Splits:
    """What becomes of each document.

    Attributes:
      chosen: bool [n], rearranged at all.
      suffix_first: bool [n], in SPM order.
      first, second: int64 [n], where the middle begins and ends, from 0 to the length.
    """

    chosen: Bools
    suffix_first: Bools
    first: Ints
    second: Ints


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FillInTheMiddle(Objective):
    """Bavarian et al. 2022 (arXiv:2207.14255), at the level of documents.

    A chosen document `prefix middle suffix` becomes `<PRE> prefix <SUF> suffix <MID> middle` (PSM), or `<PRE> <SUF> suffix <MID> prefix
    middle` (SPM, the paper's second variant). Both cuts are uniform over all places, the ends included; parts may be empty. Training is
    causal, with loss on every token.

    The cuts are between tokens. `splits` gives them for any lengths, such as characters, where text is cut before it is encoded.

    Attributes:
      prefix_id, suffix_id, middle_id: the sentinels <PRE>, <SUF> and <MID>.
      rate: share of the documents that are rearranged. The paper uses 0.5, and finds up to 0.9 good; at 1.0 models get worse.
      suffix_first_rate: share of those in SPM order.
      keep_first, keep_last: tokens at the beginning (bos) and end (eos) of each document that stay there.
    """

    name: ClassVar[str] = "fill_in_the_middle"
    changes_documents: ClassVar[bool] = True

    prefix_id: int
    suffix_id: int
    middle_id: int
    rate: float = 0.5
    suffix_first_rate: float = 0.5
    keep_first: int = 0
    keep_last: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("prefix_id", "suffix_id", "middle_id"):
            check_id(name, getattr(self, name), self.vocab_size)
        if len({self.prefix_id, self.suffix_id, self.middle_id}) < 3:
            raise ConfigError(
                f"objective.prefix_id, suffix_id and middle_id must differ, got {self.prefix_id}, {self.suffix_id} and {self.middle_id}"
            )
        rates.check_rate("objective.rate", self.rate, zero=True)
        rates.check_rate("objective.suffix_first_rate", self.suffix_first_rate, zero=True)
        if min(self.keep_first, self.keep_last) < 0:
            raise ConfigError(f"objective.keep_first and keep_last count tokens, got {self.keep_first} and {self.keep_last}")

    def check_packing(self, *, mode: str, overlap: int = 0, align: int = 1) -> None:
        """See `Objective`."""
        if mode in ("full_sentences", "segment_pairs"):
            raise ConfigError(f"objective {self.called} cuts sentences, which packing.mode {mode} keeps whole: use best_fit or wrap")

    def marks(self) -> tuple[int, ...]:
        """See `Objective`."""
        return self.prefix_id, self.suffix_id, self.middle_id

    def takes(self, width: int) -> bool:
        """See `Objective`: examples of any length."""
        return True

    def output_shapes(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """See `Objective`: examples stay as they are laid out."""
        return {}

    def apply(self, arrays: Arrays, example_ids: npt.ArrayLike, *, seed: int, variant: int = 0, epoch: int = 0) -> dict[str, Array]:
        """Gives the arrays back: it was done to the documents, by `rearrange`."""
        return dict(arrays)

    def splits(self, lengths: npt.ArrayLike, document_ids: npt.ArrayLike, *, seed: int, variant: int = 0, epoch: int = 0) -> Splits:
        """Decides what becomes of documents, from their lengths alone.

        Args:
          lengths: int [n] tokens of each; the places to cut are 0 to these.
          document_ids: integers [n] that identify the documents.
          seed: see `Objective.apply`.
          variant: see `Objective.apply`.
          epoch: see `Objective.apply`.
        """
        draw = self._draw(seed, variant, epoch)
        ids = np.asarray(document_ids)
        lengths = np.asarray(lengths, dtype=np.int64)
        places = keys.below(draw.words("cuts", ids, 2), lengths[:, None] + 1)
        return Splits(
            chosen=rates.happens(draw.word("chosen", ids), self.rate),
            suffix_first=rates.happens(draw.word("order", ids), self.suffix_first_rate),
            first=places.min(axis=1),
            second=places.max(axis=1),
        )

    def _inner(self, lengths: Ints) -> tuple[Ints, Ints, Bools]:
        """Gives where the part that is rearranged begins and its length, int64 [n] each, and bool [n], False for documents without one."""
        inner = lengths - self.keep_first - self.keep_last
        return np.full_like(lengths, self.keep_first), np.maximum(inner, 0), inner >= 0

    def document_lengths(self, lengths: npt.ArrayLike, document_ids: npt.ArrayLike, *, seed: int, variant: int = 0, epoch: int = 0) -> Ints:
        """See `Objective`: three tokens more for documents that are rearranged."""
        lengths = np.asarray(lengths, dtype=np.int64)
        _, inner, enough = self._inner(lengths)
        chosen = self.splits(inner, document_ids, seed=seed, variant=variant, epoch=epoch).chosen & enough
        return np.asarray(lengths + 3 * chosen)

    def rearrange(
        self,
        tokens: Array,
        offsets: npt.ArrayLike,
        document_ids: npt.ArrayLike,
        *,
        seed: int,
        variant: int = 0,
        epoch: int = 0,
        sentinels: tuple[int, int, int] | None = None,
    ) -> tuple[Array, Ints]:
        """See `Objective`: cuts documents in three and puts them in another order.

        With other `sentinels` than its own, it does to values that go with the tokens what it does to the tokens.
        """
        offsets = np.asarray(offsets, dtype=np.int64)
        lengths = np.diff(offsets)
        skip, inner, enough = self._inner(lengths)
        split = self.splits(inner, document_ids, seed=seed, variant=variant, epoch=epoch)
        chosen = split.chosen & enough
        spm = chosen & split.suffix_first
        begin = offsets[:-1] + skip
        first, second, last = begin + split.first, begin + split.second, begin + inner
        pre, suf, mid = (len(tokens) + i for i in range(3))  # the sentinels stand behind the tokens, so that all is copied alike
        n = len(lengths)
        # A document becomes up to eight stretches; those of length 0 are left out. Columns stand in the order of the new document.
        source, length = np.zeros((n, 8), np.int64), np.zeros((n, 8), np.int64)

        def put(rows: Bools, column: int, at: Any, size: Any) -> None:
            source[rows, column] = at[rows] if isinstance(at, np.ndarray) else at
            length[rows, column] = size[rows] if isinstance(size, np.ndarray) else size

        put(~chosen, 0, offsets[:-1], lengths)
        put(chosen, 0, offsets[:-1], skip)
        put(chosen, 1, pre, 1)
        put(chosen & ~spm, 2, begin, split.first)  # prefix
        put(chosen, 3, suf, 1)
        put(chosen, 4, second, last - second)  # suffix
        put(chosen, 5, mid, 1)
        put(chosen & ~spm, 6, first, second - first)  # middle
        put(spm, 6, begin, split.second)  # prefix and middle
        put(chosen, 7, last, np.full(n, self.keep_last))
        new = np.zeros(n + 1, np.int64)
        np.cumsum(length.sum(axis=1), out=new[1:])
        used = length.ravel() > 0
        sizes = length.ravel()[used]
        out = np.empty(int(new[-1]), tokens.dtype)
        extended = np.concatenate([tokens, np.array(sentinels or (self.prefix_id, self.suffix_id, self.middle_id), tokens.dtype)])
        copy_stretches(extended, source.ravel()[used], np.cumsum(sizes) - sizes, sizes, out, self.pad_id)
        return out, new

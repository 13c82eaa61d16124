"""Prefix language modelling: a visible beginning, and the rest as targets."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

import numpy as np

from tokenreel import keys
from tokenreel.errors import ConfigError
from tokenreel.format.schema import token_dtype
from tokenreel.objectives.base import Array, Arrays, Bools, Draw, Ints, Objective, check_id, compact


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PrefixLM(Objective):
    """Reads the first part of a text in both directions and predicts the rest.

    The split is uniform: at least one token on either side. As a decoder's objective it makes `prefix_mask`, true for the tokens of the
    prefix of each document of the example; the rest is predicted, and `loss_weights` of the loader count it alone. As an encoder-decoder's
    it makes `inputs`, `targets`, `num_inputs`, `num_targets`, and splits the example as one text.

    Attributes:
      form: "decoder" or "encoder_decoder".
      eos_id: ends inputs and targets of an encoder-decoder; None adds nothing.
      loss_on_targets_only: whether `loss_weights` leave out the tokens of prefixes, which the model sees (SeqIO's option); of a decoder.
    """

    name: ClassVar[str] = "prefix_lm"
    version: ClassVar[int] = 2

    form: Literal["decoder", "encoder_decoder"] = "decoder"
    eos_id: int | None = None
    loss_on_targets_only: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in ("decoder", "encoder_decoder"):
            raise ConfigError(f"objective.form must be decoder or encoder_decoder, got {self.form!r}")
        if self.form == "encoder_decoder" and not self.loss_on_targets_only:
            raise ConfigError(
                "objective.loss_on_targets_only: false needs form decoder, the loss of an encoder-decoder is on its targets: leave it out"
            )
        if self.eos_id is not None:
            check_id("eos_id", self.eos_id, self.vocab_size)
        if self.raw_length() < 2:
            raise ConfigError(f"objective {self.called} splits at least 2 tokens: packing.seq_len must be at least 3, got {self.seq_len}")

    def raw_length(self) -> int:
        """See `Objective`: inputs of all but one token, and eos, fill an encoder."""
        return self.seq_len if self.form == "decoder" or self.eos_id is None else self.seq_len - 1

    def takes(self, width: int) -> bool:
        """See `Objective`: a decoder's examples may hold tokens behind the last position, which are targets only."""
        return width == self.raw_length() or (self.form == "decoder" and width > self.seq_len)

    def check_packing(self, *, mode: str, overlap: int = 0, align: int = 1) -> None:
        """See `Objective`."""
        if align > 1:
            raise ConfigError(f"objective {self.called} knows no padding inside examples, packing.align is {align}: set it to 1")
        if self.form == "encoder_decoder" and overlap:
            raise ConfigError(f"objective {self.called} has no use for the token that packing.overlap = {overlap} repeats: set it to 0")

    def output_shapes(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """See `Objective`."""
        if self.form == "decoder":
            return {"prefix_mask": ("bit", (self.seq_len,))}
        ids = token_dtype(self.vocab_size)
        return {
            "inputs": (ids, (self.seq_len,)),
            "targets": (ids, (self.seq_len,)),
            "num_inputs": ("int32", ()),
            "num_targets": ("int32", ()),
        }

    def _kept(self, arrays: Arrays) -> dict[str, Array]:
        drops = () if self.form == "decoder" else ("tokens", "document_starts", "num_tokens")
        return {name: values for name, values in arrays.items() if name not in drops}

    def _corrupt(self, tokens: Array, starts: Bools | None, num_tokens: Ints, ids: Array, draw: Draw) -> dict[str, Array]:
        n, length = tokens.shape
        column = np.arange(length)
        begins = np.zeros(tokens.shape, np.bool_)
        if starts is not None and self.form == "decoder":
            begins |= starts & (column < num_tokens[:, None])
        begins[:, 0] = num_tokens > 0
        row, at = np.nonzero(begins)  # the documents of all examples, one after the other
        following = np.append(at[1:], 0)
        last = np.append(row[1:] != row[:-1], True) if len(row) else np.zeros(0, np.bool_)
        sizes = np.where(last, num_tokens[row], following) - at
        # Named by the position: a document's split does not depend on how many documents stand before it.
        words = keys.words_at(draw.states("split", ids)[row], at)
        split = np.where(sizes >= 2, 1 + keys.below(words, np.maximum(sizes - 1, 1)), 0)
        if self.form == "decoder":
            edges = np.zeros((n, length + 1), np.int8)
            # A prefix ends where it begins if its document has one token: additions, where assignments would overwrite each other.
            np.add.at(edges, (row, at), 1)
            np.add.at(edges, (row, at + split), -1)
            mask = np.cumsum(edges[:, :-1], axis=1, dtype=np.int8).astype(np.bool_)
            return {"prefix_mask": mask[:, : self.seq_len]}
        split_at = np.zeros(n, np.int64)
        split_at[row] = split
        made: dict[str, Array] = {}
        for name, low, high in (("inputs", np.zeros(n, np.int64), split_at), ("targets", split_at, num_tokens)):
            counts = high - low
            out = np.full((n, self.seq_len), self.pad_id, tokens.dtype)
            inside = (column >= low[:, None]) & (column < high[:, None])
            out[:, :length], _ = compact(tokens, inside, length, self.pad_id)
            if self.eos_id is not None:
                out[np.arange(n), counts] = self.eos_id
                counts = counts + 1
            made[name], made[f"num_{name}"] = out, counts
        return made

    def restore(self, arrays: Arrays) -> Array:
        """See `Objective`."""
        if self.form == "decoder":
            return arrays["tokens"]
        extra = int(self.eos_id is not None)
        both = np.concatenate([arrays["inputs"], arrays["targets"]], axis=1)
        column = np.arange(self.seq_len)
        keep = [column < (arrays[f"num_{name}"].astype(np.int64) - extra)[:, None] for name in ("inputs", "targets")]
        return compact(both, np.concatenate(keep, axis=1), self.raw_length(), self.pad_id)[0]

    def statistics(self, before: Arrays, after: Arrays) -> dict[str, Any]:
        """Adds the tokens of prefixes."""
        extra = int(self.eos_id is not None)
        if self.form == "decoder":
            prefix = int(np.count_nonzero(after["prefix_mask"]))
        else:
            prefix = int(after["num_inputs"].sum()) - extra * len(after["num_inputs"])
        return {**super().statistics(before, after), "prefix_tokens": prefix}

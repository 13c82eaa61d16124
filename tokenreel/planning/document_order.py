"""The total order of the documents, cut into groups that fit in memory.

A group is the unit in which documents are ordered, packed and read: in shuffled order a range of keys, in source order a range of the
split's tokens. The order is a property of the documents and the seed; how they were read, by whom and in what blocks, does not matter.

Documents that are taken several times (`sources.epochs`) are, in shuffled order, spread out: a split's range of keys is a circle on which
each repeat of a document lies as far as possible from the others, so every group is a random sample of the weighted corpus. In the other
orders the repeats are passes through the corpus, one after the other.

Tested in tests/pipelines/test_build.py and tests/pipelines/test_selection.py.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys, ragged
from tokenreel.config.build import JobConfig
from tokenreel.config.splits import KEYS, split_names, split_ranges
from tokenreel.format import token_spans
from tokenreel.planning.group_documents import DocumentGroup, GroupDocuments, StageRows
from tokenreel.planning.recipe import Recipe
from tokenreel.planning.selection import StageSelection, passes, repeats_of
from tokenreel.planning.stage_table import StageTable
from tokenreel.staging.stage_file import StageFile
from tokenreel.storage import files
from tokenreel.storage.pooled import each

_SAMPLED = 16  # one document of so many tells where the values of an order field are cut


@dataclasses.dataclass(frozen=True)
class DocumentOrder:
    """Reads groups of documents in their final order.

    Attributes:
      recipe: what is built.
      selections: what is taken of each stage file, sorted as the text lies.
      merged: the merged files that hold the same documents, where these are read in place of stage files; not in source order.
    """

    recipe: Recipe
    selections: StageTable
    merged: StageTable | None = None

    @property
    def files(self) -> StageTable:
        """The files that documents are read from."""
        return self.selections if self.merged is None else self.merged

    @property
    def config(self) -> JobConfig:
        """The settings of the build."""
        return self.recipe.config

    @property
    def _extra(self) -> int:
        """Tokens that each document gets beside its own: bos and eos."""
        return (self.recipe.first_id is not None) + (self.recipe.last_id is not None)

    def totals(self, split: str, source: int | None = None, repeat: int | None = None) -> tuple[int, int]:
        """Counts the documents of a split (of one source or of all, of one repeat or of all) and their tokens, bos and eos included."""
        counts = self.selections.counts(split, repeat)
        if source is not None:
            counts = counts[self.selections.of_source(source)]
        documents, tokens = counts[:, :2].sum(axis=0).tolist()
        return documents, tokens + documents * self._extra

    def _of_source(self, source: int | None) -> Iterator[StageSelection]:
        return (self.selections[index] for index in self.selections.of_source(source).tolist())

    def groups(self) -> list[DocumentGroup]:
        """Cuts every split into groups, in the order in which they follow each other."""
        found: list[DocumentGroup] = []
        shuffled = self.config.order.mode == "shuffle"
        sources = range(len(self.config.sources)) if self.config.packing.per_source else [None]
        for split in split_names(self.config):
            # A shuffled group holds repeats of all numbers; in the other orders the whole corpus comes once for each.
            repeats = [None] if shuffled else range(passes(self.config, split, None))
            groups = [
                DocumentGroup(split=split, index=0, low=low, high=high, source=source, repeat=repeat)
                for repeat in repeats
                for source in sources
                for low, high in self._ranges(split, source, repeat)
            ]
            if shuffled:  # else the groups of a source would follow each other where sources are kept apart
                ranks = keys.bits(self.config.seed, f"order/groups/{split}", np.arange(len(groups)), 1)[:, 0]
                groups = [groups[at] for at in np.argsort(ranks, kind="stable").tolist()]
            found += [dataclasses.replace(group, index=index) for index, group in enumerate(groups)]
        return found

    def _ranges(self, split: str, source: int | None, repeat: int | None) -> list[tuple[int, int]]:
        """Cuts the keys, the tokens or the field values of a split into as many ranges as it has groups."""
        documents, tokens = self.totals(split, source, repeat)
        count = min(-(-tokens // self.config.order.group_tokens), documents)
        if not count:
            return []
        if self.config.order.mode == "field":
            bounds = self._field_bounds(split, source, repeat, count)
        else:
            high = KEYS if self.config.order.mode == "shuffle" else tokens
            bounds = [high * i // count for i in range(count + 1)]
        return list(itertools.pairwise(bounds))

    def _field_bounds(self, split: str, source: int | None, repeat: int | None, count: int) -> list[int]:
        """Cuts the values of the order field where a sample of the documents, chosen by their keys, has its quantiles."""
        sampled = []
        for selection in self._of_source(source):
            stage = StageFile(selection.info)
            first, last = self._rows_of(selection, stage, split)
            chosen = keys.mix(stage.read("key", first, last)) % np.uint64(_SAMPLED) == 0
            picked = self._pick(selection, stage, split, first, last, repeat or 0)
            if picked is not None:
                chosen &= np.isin(np.arange(last - first), picked)
            sampled.append(stage.read("sort_value", first, last)[chosen])
        values = np.sort(np.concatenate(sampled))
        inner = values[[len(values) * i // count for i in range(1, count)]].tolist() if len(values) else []
        # A set: where many documents have the same value, several quantiles coincide, and one group holds all of them.
        return sorted({0, KEYS, *inner})

    def _rows_of(self, selection: StageSelection, stage: StageFile, split: str) -> tuple[int, int]:
        """Gives the rows [first, last) of a stage file that belong to a split: its documents are sorted by key."""
        return stage.documents_between(*split_ranges(self.config, selection.info.source)[split])

    def _pick(
        self, selection: StageSelection, stage: StageFile, split: str, first: int, last: int, repeat: int
    ) -> npt.NDArray[np.int64] | None:
        """Picks those of the documents [first, last) of a stage file that have a repeat: int64, counted from `first`; None for all."""
        count = repeats_of(self.config, selection, stage, split, first, last)
        return None if count is None else np.flatnonzero(count > repeat)

    def read(self, group: DocumentGroup, *, with_tokens: bool = True) -> GroupDocuments:
        """Reads the documents of a group and brings them into order.

        Args:
          group: what to read.
          with_tokens: False reads the lengths alone.

        Raises:
          BuildError: a stage file is gone or damaged.
        """
        if self.config.order.mode == "shuffle":
            return self._read_keys(group, with_tokens)
        if self.merged is not None:
            return self._read_values(group, self.merged, with_tokens)
        return self._read_sequence(group, with_tokens)

    def _read_keys(self, group: DocumentGroup, with_tokens: bool) -> GroupDocuments:
        """Reads the documents whose places on the circle of keys lie in the group's range."""
        key_ranges = [list(self._key_ranges(group, source)) for source in range(len(self.config.sources))]

        def read(item: tuple[int, StageSelection]) -> list[StageRows]:
            index, selection = item
            found = []
            stage = StageFile(selection.info)
            for repeat, low, high in key_ranges[selection.info.source]:
                first, last = stage.documents_between(low, high)
                if first < last:
                    picked = self._pick(selection, stage, group.split, first, last, repeat)
                    found.append(StageRows.read(stage, index, first, last, with_tokens, picked, repeat))
            return found

        table = self.files
        if self.merged is None:
            having = table.counts(group.split)[:, 0] > 0
        else:
            having = self.merged.touching([[(low, high) for _, low, high in ranges] for ranges in key_ranges])
        if group.source is not None:
            having &= table.numbers("source") == group.source
        wanted = [(index, table[index]) for index in np.flatnonzero(having).tolist()]
        # A group has documents in about every stage file: from a bucket these are read side by side, each answer takes its time.
        remote = any(files.is_remote(selection.info.path) for _, selection in wanted)
        parts = list(itertools.chain.from_iterable(each(read, wanted, remote=remote)))
        return self._arrange(parts, self._shuffled(parts), with_tokens)

    def _shuffled(self, parts: Sequence[StageRows]) -> npt.NDArray[np.int64]:
        """Numbers the n documents of some stage files in shuffled order: int64 [n]."""
        # Documents of one name tie: they keep the order of the text, which is the order in which they were just read.
        key = np.concatenate([part.key for part in parts]) if parts else np.zeros(0, dtype=np.uint64)
        ranks = keys.mix(key ^ np.uint64(keys.key(self.config.seed, "order/documents")))
        return np.argsort(ranks, kind="stable")

    def _key_ranges(self, group: DocumentGroup, source: int) -> Iterator[tuple[int, int, int]]:
        """Yields where the documents of a group lie among the keys of a source: repeat, low, high.

        A document whose key lies a share x into the split's range of keys has its repeat r of n at the place x + r / n, modulo 1.
        """
        low, high = split_ranges(self.config, source)[group.split]
        count = passes(self.config, group.split, source)
        for repeat in range(count):
            shift = KEYS * repeat // count
            # The group's range, turned back by the shift, may reach below 0: that part lies at the end of the circle, one turn on.
            for turn in (0, KEYS):
                begin, end = (min(max(place - shift + turn, 0), KEYS) for place in (group.low, group.high))
                if begin < end:
                    yield repeat, low + ((high - low) * begin >> 64), low + ((high - low) * end >> 64)

    def _read_sequence(self, group: DocumentGroup, with_tokens: bool) -> GroupDocuments:
        """Reads the documents that begin in a range of a repeat's tokens, or whose order field lies in a range of values."""
        assert group.repeat is not None
        by_field = self.config.order.mode == "field"
        counts = self.selections.counts(group.split, group.repeat)
        chosen = self.selections.of_source(group.source)
        chosen = chosen[counts[chosen, 0] > 0]
        sizes = counts[chosen, 1] + counts[chosen, 0] * self._extra
        ends = np.cumsum(sizes)
        begins = ends - sizes
        if not by_field:  # in source order the counts tell which files hold the range, and the others need not be opened
            inside = slice(np.searchsorted(ends, group.low, side="right"), np.searchsorted(begins, group.high))
            chosen, begins = chosen[inside], begins[inside]
        parts, values = [], []
        for index, begin in zip(chosen.tolist(), begins.tolist(), strict=True):
            found = self._rows_inside(group, self.selections[index], index, begin, with_tokens)
            if found is not None:
                parts.append(found[0])
                values.append(found[1])
        order = np.argsort(np.concatenate(values), kind="stable") if values else np.zeros(0, dtype=np.int64)
        return self._arrange(parts, order, with_tokens)

    def _rows_inside(
        self, group: DocumentGroup, selection: StageSelection, index: int, begin: int, with_tokens: bool
    ) -> tuple[StageRows, npt.NDArray[np.integer]] | None:
        """Reads those documents of a stage file that belong to a group, in the order of the text.

        Args:
          group: what to read; not in shuffled order.
          selection: the stage file.
          index: its number.
          begin: the token of the group's repeat with which the file's first document begins.
          with_tokens: False reads the lengths alone.

        Returns:
          the documents, and [n] the values by which they are sorted; None if the file has none of them.
        """
        assert group.repeat is not None
        stage = StageFile(selection.info)
        first, last = self._rows_of(selection, stage, group.split)
        order = stage.in_text_order(first, last)
        picked = self._pick(selection, stage, group.split, first, last, group.repeat)
        if picked is not None:
            order = order[np.isin(order, picked)]
        if self.config.order.mode == "field":
            value = stage.read("sort_value", first, last)[order]
        else:
            lengths = np.diff(stage.read("token_offset", first, last + 1)) + self._extra
            value = begin + ragged.offsets_of(lengths[order])[:-1]
        # The last range has no end: KEYS is one more than an unsigned value can be compared with.
        inside = value >= group.low if group.high >= KEYS else (value >= group.low) & (value < group.high)
        if not inside.any():
            return None
        return StageRows.read(stage, index, first, last, with_tokens, order[inside], group.repeat), value[inside]

    def _read_values(self, group: DocumentGroup, table: StageTable, with_tokens: bool) -> GroupDocuments:
        """Reads the documents of a repeat whose order field lies in a range of values from merged files, which are sorted by these."""
        assert group.repeat is not None
        repeat = group.repeat

        def read(index: int) -> tuple[StageRows, npt.NDArray[np.uint64]]:
            selection = table[index]
            stage = StageFile(selection.info)
            first, last, value = stage.sorted_between(group.low, group.high)
            picked = self._pick(selection, stage, group.split, first, last, repeat)
            return StageRows.read(stage, index, first, last, with_tokens, picked, repeat), value if picked is None else value[picked]

        having = table.holding(group.split, group.low, group.high)
        sources = range(len(self.config.sources)) if group.source is None else [group.source]
        taken = [source for source in sources if passes(self.config, group.split, source) > repeat]
        having &= np.isin(table.numbers("source"), taken)
        wanted = np.flatnonzero(having).tolist()
        remote = any(files.is_remote(table[index].info.path) for index in wanted)
        found = list(each(read, wanted, remote=remote))
        # Documents of equal values lie in each file, and these in the table, as the text does.
        order = np.argsort(np.concatenate([value for _, value in found]), kind="stable") if found else np.zeros(0, dtype=np.int64)
        return self._arrange([rows for rows, _ in found], order, with_tokens)

    def _arrange(self, parts: Sequence[StageRows], order: npt.NDArray[np.int64], with_tokens: bool) -> GroupDocuments:
        """Puts the documents of several stage files into one order, with bos and eos, and as the objective rearranges them.

        Args:
          parts: n documents.
          order: int64 [n] their numbers in `parts`, laid end to end, in the order wanted.
          with_tokens: whether tokens were read.
        """
        with_spans = with_tokens and self.config.vocabulary.offsets
        if not parts:
            empty = np.zeros(0, dtype=np.int64)
            spans = empty if with_spans else None
            return GroupDocuments(empty, np.zeros(1, dtype=np.int64), empty, empty, empty, empty.astype(np.uint64), empty, empty, 0, spans)
        lengths = np.concatenate([part.lengths for part in parts])
        names = np.concatenate([part.key for part in parts])[order]
        ends = (self.recipe.first_id, self.recipe.last_id)
        spans = None
        if with_spans:
            nowhere = [None if token is None else token_spans.NO_SPAN for token in ends]  # bos and eos stand for no text
            spans, _ = _in_order([part.token_spans for part in parts], lengths, order, *nowhere)
        if with_tokens:
            tokens, offsets = _in_order([part.tokens for part in parts], lengths, order, *ends)
        else:
            tokens, offsets = np.zeros(0, dtype=np.int64), ragged.offsets_of(lengths[order] + self._extra)
        tokens, offsets, spans = self._rearrange(tokens, offsets, spans, names, with_tokens)
        sentences, per_document = self._sentences(parts, order)
        return GroupDocuments(
            tokens=tokens,
            offsets=offsets,
            stage=_of_each([part.stage for part in parts], parts, order),
            row=np.concatenate([part.row for part in parts])[order],
            repeat=_of_each([part.repeat for part in parts], parts, order),
            key=names,
            sentences=sentences,
            sentences_per_document=per_document,
            added=int(offsets[-1]) - int(lengths[order].sum()) - self._extra * len(order),
            token_spans=spans,
        )

    def _rearrange(
        self,
        tokens: npt.NDArray[Any],
        offsets: npt.NDArray[np.int64],
        spans: npt.NDArray[np.int64] | None,
        names: npt.NDArray[np.uint64],
        with_tokens: bool,
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[np.int64] | None]:
        """Does to documents and to their spans what an objective does before layout; nothing, unless it fills in the middle."""
        infilling, seed = self.recipe.infilling, self.config.seed
        if infilling is None:
            return tokens, offsets, spans
        if spans is not None:
            nowhere = (token_spans.NO_SPAN,) * 3  # the sentinels stand for no text
            spans, _ = infilling.rearrange(spans, offsets, names, seed=seed, sentinels=nowhere)
        if with_tokens:
            tokens, offsets = infilling.rearrange(tokens, offsets, names, seed=seed)
        else:
            offsets = ragged.offsets_of(infilling.document_lengths(np.diff(offsets), names, seed=seed))
        return tokens, offsets, spans

    def _sentences(self, parts: Sequence[StageRows], order: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Gives the tokens of each sentence, int64 [num_sentences], and the sentences of each document, int64 [n]."""
        sentences = np.concatenate([part.sentences for part in parts])
        if not len(sentences):
            return sentences, np.zeros(len(order), dtype=np.int64)  # which takes no memory until somebody writes to it
        per_document = np.concatenate([part.sentences_per_document for part in parts])
        sentences, bounds = ragged.take(sentences, ragged.offsets_of(per_document), order)
        sentences = sentences.copy()  # what Arrow hands out cannot be written to
        # Bos belongs to a document's first sentence, eos to its last.
        sentences[bounds[:-1]] += self.recipe.first_id is not None
        sentences[bounds[1:] - 1] += self.recipe.last_id is not None
        return sentences, per_document[order]


def _in_order(
    values: Sequence[npt.NDArray[Any]], lengths: npt.NDArray[np.int64], order: npt.NDArray[np.int64], first: int | None, last: int | None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Joins the documents of several stage files, and puts them in order, with a value before and after each.

    Args:
      values: of the documents of each file, laid end to end.
      lengths: int64 [n] of all documents.
      order: int64 [n] their numbers in the order wanted.
      first: what stands before each document; None puts nothing.
      last: what stands after it.

    Returns:
      the values end to end, and int64 [n + 1] offsets.
    """
    joined, offsets = ragged.take(np.concatenate(values), ragged.offsets_of(lengths), order)
    return ragged.surround(joined, offsets, first, last)


def _of_each(numbers: Sequence[int], parts: Sequence[StageRows], order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Repeats the number of each part for its documents, in the order wanted: int64 [n]."""
    if not any(numbers):
        return np.zeros(len(order), dtype=np.int64)  # which takes no memory until somebody writes to it
    return np.repeat(np.array(numbers, dtype=np.int64), [len(part.lengths) for part in parts])[order]

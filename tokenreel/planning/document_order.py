"""The total order of the documents, cut into groups that fit in memory.

A group is the unit in which documents are ordered, packed and read: in shuffled order a range of keys, in source order a range of the
split's tokens. The order is a property of the documents and the seed; how they were read, by whom and in what blocks, does not matter.

Documents that are taken several times (`sources.epochs`) are, in shuffled order, spread out: a split's range of keys is a circle on which
each copy of a document lies as far as possible from the others, so every group is a random sample of the weighted corpus. In the other
orders the copies are passes through the corpus, one after the other.

Tested in tests/pipelines/test_build.py and tests/pipelines/test_selection.py.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tokenreel import keys, ragged
from tokenreel.config import splits
from tokenreel.config.build import JobConfig
from tokenreel.config.splits import KEYS
from tokenreel.format import token_spans
from tokenreel.planning import selection
from tokenreel.planning.group_documents import DocumentGroup, GroupDocuments, Range
from tokenreel.planning.recipe import Recipe
from tokenreel.planning.selection import StageSelection
from tokenreel.staging.range_cache import each
from tokenreel.staging.stage_file import StageFile
from tokenreel.storage import files

_SAMPLED = 16  # one document of so many tells where the values of an order field are cut


@dataclasses.dataclass(frozen=True)
class DocumentOrder:
    """Reads groups of documents in their final order.

    Attributes:
      recipe: of the build.
      stages: all stage files, sorted as the text lies.
    """

    recipe: Recipe
    stages: Sequence[StageSelection]

    @property
    def config(self) -> JobConfig:
        """The settings of the build."""
        return self.recipe.config

    @property
    def _extra(self) -> int:
        return (self.recipe.first_id is not None) + (self.recipe.last_id is not None)

    def totals(self, split: str, source: int | None = None, copy: int | None = None) -> tuple[int, int]:
        """Documents of a split (of one source, or of all; of one copy, or of all), and their tokens with bos and eos."""
        chosen = [staged.counts(split, copy) for staged in self._stages(source)]
        documents, tokens = (sum(counts[i] for counts in chosen) for i in (0, 1))
        return documents, tokens + documents * self._extra

    def _stages(self, source: int | None) -> list[StageSelection]:
        return [staged for staged in self.stages if source is None or staged.info.source == source]

    def groups(self) -> list[DocumentGroup]:
        """Cuts every split into groups, in the order in which they follow each other."""
        found: list[DocumentGroup] = []
        shuffled = self.config.order.mode == "shuffle"
        sources = range(len(self.config.sources)) if self.config.packing.per_source else [None]
        for split in splits.split_names(self.config):
            copies = [None] if shuffled else range(selection.passes(self.config, split, None))
            groups = [
                DocumentGroup(split=split, index=0, low=low, high=high, source=source, copy=copy)
                for copy in copies
                for source in sources
                for low, high in self._ranges(split, source, copy)
            ]
            if shuffled:
                ranks = keys.bits(self.config.seed, f"order/groups/{split}", np.arange(len(groups)), 1)[:, 0]
                groups = [groups[at] for at in np.argsort(ranks, kind="stable").tolist()]
            found += [dataclasses.replace(group, index=index) for index, group in enumerate(groups)]
        return found

    def _ranges(self, split: str, source: int | None, copy: int | None) -> list[tuple[int, int]]:
        documents, tokens = self.totals(split, source, copy)
        count = min(-(-tokens // self.config.order.group_tokens), documents)
        if not count:
            return []
        if self.config.order.mode == "field":
            bounds = self._field_bounds(split, source, copy, count)
        else:
            high = KEYS if self.config.order.mode == "shuffle" else tokens
            bounds = [high * i // count for i in range(count + 1)]
        return list(itertools.pairwise(bounds))

    def _field_bounds(self, split: str, source: int | None, copy: int | None, count: int) -> list[int]:
        """Cuts the values of the order field where a sample of the documents, chosen by their keys, has its quantiles."""
        sampled = []
        for staged in self._stages(source):
            stage = StageFile(staged.info)
            first, last = stage.documents_between(*splits.split_ranges(self.config, staged.info.source)[split])
            chosen = keys.mix(stage.read("key", first, last)) % np.uint64(_SAMPLED) == 0
            picked = self._pick(staged, stage, split, first, last, copy or 0)
            if picked is not None:
                chosen &= np.isin(np.arange(last - first), picked)
            sampled.append(stage.read("sort_value", first, last)[chosen])
        values = np.sort(np.concatenate(sampled))
        inner = values[[len(values) * i // count for i in range(1, count)]].tolist() if len(values) else []
        return sorted({0, KEYS, *inner})

    def _pick(self, staged: StageSelection, stage: StageFile, split: str, first: int, last: int, copy: int) -> npt.NDArray[np.int64] | None:
        """Which of the documents [first, last) of a stage file are taken more than `copy` times; None for all."""
        count = selection.take(self.config, staged, stage, split, first, last)
        return None if count is None else np.flatnonzero(count > copy)

    def read(self, group: DocumentGroup, *, with_tokens: bool = True) -> GroupDocuments:
        """Reads the documents of a group and brings them into order.

        Args:
          group: what to read.
          with_tokens: False reads the lengths alone.
        """
        if self.config.order.mode == "shuffle":
            return self._read_keys(group, with_tokens)
        return self._read_sequence(group, with_tokens)

    def _read_keys(self, group: DocumentGroup, with_tokens: bool) -> GroupDocuments:
        key_ranges = [list(self._key_ranges(group, source)) for source in range(len(self.config.sources))]

        def read(item: tuple[int, StageSelection]) -> list[Range]:
            index, staged = item
            found = []
            stage = StageFile(staged.info)
            for copy, low, high in key_ranges[staged.info.source]:
                first, last = stage.documents_between(low, high)
                if first < last:
                    picked = self._pick(staged, stage, group.split, first, last, copy)
                    found.append(Range.read(stage, index, first, last, with_tokens, picked, copy))
            return found

        wanted = [
            (index, staged)
            for index, staged in enumerate(self.stages)
            if staged.counts(group.split)[0] and group.source in (None, staged.info.source)
        ]
        remote = any(files.is_remote(staged.info.path) for _, staged in wanted)
        ranges = list(itertools.chain.from_iterable(each(read, wanted, remote=remote)))
        # Documents of one name tie: they keep the order of the text, which is the order in which they were just read.
        key = np.concatenate([part.key for part in ranges]) if ranges else np.zeros(0, dtype=np.uint64)
        ranks = keys.mix(key ^ np.uint64(keys.key(self.config.seed, "order/documents")))
        return self._arrange(ranges, np.argsort(ranks, kind="stable"), with_tokens)

    def _key_ranges(self, group: DocumentGroup, source: int) -> Iterator[tuple[int, int, int]]:
        """The ranges of keys whose copies lie in a group: copy, low, high. Copy c of n is c / n of the circle behind its document."""
        low, high = splits.split_ranges(self.config, source)[group.split]
        count = selection.passes(self.config, group.split, source)
        for copy in range(count):
            shift = KEYS * copy // count
            for turn in (0, KEYS):
                begin, end = (min(max(place - shift + turn, 0), KEYS) for place in (group.low, group.high))
                if begin < end:
                    yield copy, low + ((high - low) * begin >> 64), low + ((high - low) * end >> 64)

    def _read_sequence(self, group: DocumentGroup, with_tokens: bool) -> GroupDocuments:
        """Reads the documents that begin in a range of a copy's tokens, or whose order field lies in a range of values."""
        assert group.copy is not None
        by_field = self.config.order.mode == "field"
        ranges = []
        values = []
        begin = 0
        for index, staged in enumerate(self.stages):
            documents, tokens, *_ = staged.counts(group.split, group.copy)
            if not documents or group.source not in (None, staged.info.source):
                continue
            end = begin + tokens + documents * self._extra
            if by_field or (begin < group.high and end > group.low):
                stage = StageFile(staged.info)
                first, last = stage.documents_between(*splits.split_ranges(self.config, staged.info.source)[group.split])
                offsets = stage.read("token_offset", first, last + 1)
                order = np.lexsort((stage.read("position", first, last), stage.read("file", first, last)))
                picked = self._pick(staged, stage, group.split, first, last, group.copy)
                if picked is not None:
                    order = order[np.isin(order, picked)]
                if by_field:
                    value = stage.read("sort_value", first, last)[order]
                else:
                    value = begin + ragged.offsets_of((np.diff(offsets) + self._extra)[order])[:-1]
                inside = value >= group.low if group.high >= KEYS else (value >= group.low) & (value < group.high)
                if inside.any():
                    ranges.append(Range.read(stage, index, first, last, with_tokens, order[inside], group.copy))
                    values.append(value[inside])
            begin = end
        order = np.argsort(np.concatenate(values), kind="stable") if values else np.zeros(0, dtype=np.int64)
        return self._arrange(ranges, order, with_tokens)

    def _arrange(self, ranges: Sequence[Range], order: npt.NDArray[np.int64], with_tokens: bool) -> GroupDocuments:
        if not ranges:
            empty = np.zeros(0, dtype=np.int64)
            spans = empty if self._has_spans(with_tokens) else None
            return GroupDocuments(empty, np.zeros(1, dtype=np.int64), empty, empty, empty, empty.astype(np.uint64), empty, empty, 0, spans)
        lengths = np.concatenate([part.lengths for part in ranges])
        stage = np.concatenate([np.full(len(part.lengths), part.stage, dtype=np.int64) for part in ranges])
        row = np.concatenate([part.row for part in ranges])
        copy = np.concatenate([np.full(len(part.lengths), part.copy, dtype=np.int64) for part in ranges])[order]
        spans = None
        if self._has_spans(with_tokens):
            spans, bounds = ragged.take(np.concatenate([part.spans for part in ranges]), ragged.offsets_of(lengths), order)
            first, last = (None if token is None else token_spans.NO_SPAN for token in (self.recipe.first_id, self.recipe.last_id))
            spans, _ = ragged.surround(spans, bounds, first, last)
        if with_tokens:
            joined = np.concatenate([part.tokens for part in ranges])
            tokens, offsets = ragged.take(joined, ragged.offsets_of(lengths), order)
            tokens, offsets = ragged.surround(tokens, offsets, self.recipe.first_id, self.recipe.last_id)
        else:
            tokens, offsets = np.zeros(0, dtype=np.int64), ragged.offsets_of(lengths[order] + self._extra)
        names = np.concatenate([part.key for part in ranges])[order]
        infilling = self.recipe.infilling
        if infilling is not None:
            if spans is not None:
                none = (token_spans.NO_SPAN,) * 3
                spans, _ = infilling.rearrange(spans, offsets, names, seed=self.config.seed, sentinels=none)
            if with_tokens:
                tokens, offsets = infilling.rearrange(tokens, offsets, names, seed=self.config.seed)
            else:
                offsets = ragged.offsets_of(infilling.document_lengths(np.diff(offsets), names, seed=self.config.seed))
        per_document = np.concatenate([part.sentences_per_document for part in ranges])
        sentences, bounds = ragged.take(np.concatenate([part.sentences for part in ranges]), ragged.offsets_of(per_document), order)
        if len(sentences):
            sentences = sentences.copy()
            sentences[bounds[:-1]] += self.recipe.first_id is not None
            sentences[bounds[1:] - 1] += self.recipe.last_id is not None
        added = int(offsets[-1]) - int(lengths[order].sum()) - self._extra * len(order)
        return GroupDocuments(tokens, offsets, stage[order], row[order], copy, names, sentences, per_document[order], added, spans)

    def _has_spans(self, with_tokens: bool) -> bool:
        return with_tokens and self.config.vocabulary.offsets

"""What a corpus amounts to, from a part of it that is read, filtered and tokenized as a build does.

A source that is not larger than the sample is read whole, and its numbers are exact. Of others, ranges are drawn: the stored bytes of all
files are laid end to end and cut into as many equal stretches as there are draws, and in each stretch one byte is drawn, whose range is
read. So a byte is drawn with the same probability wherever it lies, and the mean of what a stored byte gives, over all draws, times all
bytes, estimates the whole without bias (Hansen and Hurwitz, 1943). Of a file that cannot be cut the first gigabyte is unpacked, and parts
of that are drawn.

Tested in tests/pipelines/test_plan.py.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.config.build import JobConfig
from tokenreel.config.corpus import SourceConfig
from tokenreel.config.splits import shares_taken
from tokenreel.curation.cleaned import Cleaned
from tokenreel.curation.filters import Rules
from tokenreel.format import schema
from tokenreel.planning import selection
from tokenreel.planning.selection import StageSelection
from tokenreel.sources import blocks, losses, reading
from tokenreel.sources.documents import Documents
from tokenreel.sources.inputs import Block, FileRange, InputFile
from tokenreel.staging import encoding, stage_file
from tokenreel.storage import files
from tokenreel.vocabularies.base import Vocabulary

DRAWS = 48  # of a source that is not read whole
_LEAST_DRAWS = 12
_LEAST_BYTES = 1 << 16  # of a draw
_UNPACKED_BYTES = 1 << 30  # of a file that can only be read from its start
_ONE_PART = 1 << 40  # bytes: a draw is not cut
_UNEVEN = 2.0  # root of the mean square of documents' lengths, over their mean: of web pages some 1.7


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number, and between which two it is 99 times in 100."""

    value: float
    low: float
    high: float

    def __add__(self, other: Estimate) -> Estimate:
        """Adds an independent estimate."""
        value = self.value + other.value
        below = math.hypot(self.value - self.low, other.value - other.low)
        above = math.hypot(self.high - self.value, other.high - other.value)
        return Estimate(value, value - below, value + above)

    def times(self, factor: float) -> Estimate:
        """Scales it."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)

    def widened(self, error: float) -> Estimate:
        """Adds an independent error."""
        return self + Estimate(0, -error, error)

    def round(self) -> dict[str, int]:
        """Gives whole numbers for a report."""
        return {"value": round(self.value), "low": math.floor(self.low), "high": math.ceil(self.high)}


ZERO = Estimate(0, 0, 0)


def _wide(freedom: float = math.inf) -> float:
    """Gives the standard errors within which a mean is 99 times in 100: Student's quantile, to some hundredths from 11 degrees on."""
    return 2.576 + 6 / freedom


@dataclasses.dataclass(kw_only=True)
class SourceSample:
    """What was read of a source.

    Attributes:
      files: how many it has.
      bytes: what they take as they are stored.
      whole: whether all of it was read.
      read_bytes: stored bytes of what was read.
      given: float64 [draws, 3]: bytes of text, documents and tokens that each draw gave for each of its stored bytes, without what filters
        leave out; of a source that was read whole one row.
      stages: the stage files of what was read, in the order of the text.
      seconds: of one processor, for reading, filtering and tokenizing it.
      documents: that could be read.
      filtered: documents that filters left out, by reason.
      dead_letters: documents that could not be read, by reason.
      first: places and messages of the first of them.
    """

    files: int
    bytes: int
    whole: bool
    read_bytes: float = 0.0
    given: npt.NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.zeros((0, 0)))
    stages: list[StageSelection] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    documents: int = 0
    filtered: Counter[str] = dataclasses.field(default_factory=Counter)
    dead_letters: Counter[str] = dataclasses.field(default_factory=Counter)
    first: list[str] = dataclasses.field(default_factory=list)

    def estimate(self, column: int) -> Estimate:
        """Estimates what all of the source gives, of a column of `given`."""
        values = self.given[:, column]
        mean = float(values.mean()) if len(values) else 0.0
        if self.whole or len(values) < 2:
            return Estimate(mean, mean, mean).times(self.bytes)
        error = _wide(len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
        return Estimate(mean, max(0.0, mean - error), mean + error).times(self.bytes)

    @property
    def scale(self) -> float:
        """How many times as much as was read the source holds."""
        return 1.0 if self.whole or not self.read_bytes else self.bytes / self.read_bytes

    def taken(self, config: JobConfig, source: int, split: str, factor: float = 1.0) -> tuple[Estimate, Estimate]:
        """Estimates the documents and the tokens that a split takes of the source, or of `factor` times as much of it, repeats counted.

        Of what was not read, the split of a document is drawn by its name: its share is known, and how many documents fall into it varies.
        """
        if self.whole and factor == 1:
            counts = np.array([stage.counts(split)[:2] for stage in self.stages], dtype=np.float64).reshape(-1, 2).sum(axis=0)
            return Estimate(*[float(counts[0])] * 3), Estimate(*[float(counts[1])] * 3)
        share, times = shares_taken(config, source).get(split, (0.0, 1.0))
        documents, tokens = (self.estimate(column).times(factor) for column in (1, 2))
        varied = _wide() * math.sqrt(max(0.0, documents.value * share * (1 - share)))
        each = tokens.value / documents.value if documents.value else 0.0
        return documents.times(share).widened(varied).times(times), tokens.times(share).widened(varied * each * _UNEVEN).times(times)


def sample(
    config: JobConfig, source: int, found: Sequence[InputFile], vocabulary: Vocabulary, rules: Rules, directory: str, most_bytes: int
) -> SourceSample:
    """Reads a source, or draws of it, and tokenizes what it read into stage files.

    Args:
      config: the settings of a build.
      source: index of the source.
      found: its files, as they were listed.
      vocabulary: of the build.
      rules: of the source.
      directory: for the stage files.
      most_bytes: of text to read, about.

    Raises:
      SourceError: a file is gone or cannot be opened.
    """
    settings = config.sources[source]
    expanded = sum(file.size * blocks.expansion(file, settings) for file in found)
    told = SourceSample(files=len(found), bytes=sum(file.size for file in found), whole=expanded <= most_bytes)
    given: list[list[float]] = []
    for block, times, drawn in _whole(config, source, found) if told.whole else _draw(config, source, found, most_bytes):
        begun = time.process_time()
        for part, (documents, stored) in enumerate(drawn()):
            text = _stage(config, block, part, documents, vocabulary, rules, directory, told)
            info = told.stages[-1].info
            given += [[text, info.documents, info.tokens, stored]] * times
            told.read_bytes += stored
        told.seconds += time.process_time() - begun
    totals = np.array(given, dtype=np.float64).reshape(len(given), 4)
    if told.whole:
        totals, told.read_bytes = totals.sum(axis=0, keepdims=True), told.bytes
        totals[:, -1] = told.bytes
    told.given = totals[:, :-1] / np.maximum(totals[:, -1:], 1)
    return told


_Reading = Callable[[], Iterable[tuple[Documents, float]]]
"""Reads a draw: documents, and the stored bytes that they stand for; each is an observation of its own."""


def _whole(config: JobConfig, source: int, found: Sequence[InputFile]) -> Iterator[tuple[Block, int, _Reading]]:
    """Yields all of a source."""
    settings, block_bytes = config.sources[source], config.execution.block_bytes
    for block in blocks.list_blocks(settings, source, block_bytes, found):
        yield block, 1, functools.partial(_read, block, settings, 0.0, block_bytes)


def _draw(config: JobConfig, source: int, found: Sequence[InputFile], most_bytes: int) -> Iterator[tuple[Block, int, _Reading]]:
    """Yields what is drawn of a source, in the order of its text, and how often each was drawn."""
    settings, draws = config.sources[source], min(DRAWS, max(_LEAST_DRAWS, most_bytes // _LEAST_BYTES))
    block_bytes = max(1, most_bytes // draws)
    drawn = _ranges(config, source, found, draws, block_bytes)
    # Row groups may be larger than what a draw should read: then there are fewer draws.
    cost = sum(stored * blocks.expansion(file_range.file, settings) for file_range, stored in set(drawn))
    if settings.format in ("parquet", "arrow") and cost > most_bytes:
        drawn = _ranges(config, source, found, max(_LEAST_DRAWS, int(draws * most_bytes / cost)), block_bytes)
    for index, ((file_range, stored), times) in enumerate(Counter(drawn).items()):
        block = Block(source, index, (file_range,))
        expanded = stored * blocks.expansion(file_range.file, settings)
        if file_range.end is not None or settings.format == "parquet" or expanded <= times * block_bytes:
            yield block, times, functools.partial(_read, block, settings, stored, _ONE_PART)
        else:
            yield block, 1, functools.partial(reading.read_sample, file_range.file, settings, times, block_bytes, _UNPACKED_BYTES)


def _ranges(config: JobConfig, source: int, found: Sequence[InputFile], draws: int, block_bytes: int) -> list[tuple[FileRange, float]]:
    """Draws ranges, one from each of so many stretches of the stored bytes, and says how many bytes each stands for."""
    settings, ends = config.sources[source], np.cumsum([file.size for file in found])
    names = np.array([keys.key("plan", config.seed, settings.name, draw) for draw in range(draws)], dtype=np.uint64)
    places = np.minimum(((np.arange(draws) + names / 2.0**64) / draws * ends[-1]).astype(np.int64), ends[-1] - 1)
    chosen = np.searchsorted(ends, places, side="right").tolist()
    return [
        blocks.range_at(found[number], settings, block_bytes, place - int(ends[number]) + found[number].size)
        for number, place in zip(chosen, places.tolist(), strict=True)
    ]


def _read(block: Block, settings: SourceConfig, stored: float, part_bytes: int) -> Iterator[tuple[Documents, float]]:
    """Reads a block; each part is said to stand for so many stored bytes."""
    yield from ((documents, stored) for documents in reading.read_documents(block, settings, part_bytes))


def _stage(
    config: JobConfig,
    block: Block,
    part: int,
    documents: Documents,
    vocabulary: Vocabulary,
    rules: Rules,
    directory: str,
    told: SourceSample,
) -> int:
    """Tokenizes a part into a stage file, counts what became of it, and gives its bytes of text."""
    cleaned, columns = encoding.encode_part(Cleaned.of(documents), vocabulary, rules, config, block.source)
    path = files.join(directory, f"{block.source}-{block.index}-{part}")
    info = stage_file.write(path, block, part, True, cleaned, columns, schema.token_dtype(vocabulary.vocab_size))
    told.stages.append(selection.count_splits(info, config))
    told.documents += len(documents)
    told.filtered.update(info.filtered)
    for reasons in cleaned.documents.dead_letters:
        told.dead_letters.update(reasons)
    places = (f"{fault.file} byte {fault.position:,}: {losses.shorten(fault.message)}" for fault in cleaned.documents.faults)
    told.first = [*told.first, *itertools.islice(places, losses.SHOWN)][: losses.SHOWN]
    return len(documents.text)

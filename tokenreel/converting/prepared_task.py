"""A task or mixture as a job reads it: with all steps, the trimming too, before the point where examples are staged.

Tested in tests/pipelines/test_build_tasks.py.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, cast

from tokenreel.caching import units
from tokenreel.config.task_build import TaskJobConfig
from tokenreel.tasks import cache_directories, cached_sources
from tokenreel.tasks.data_sources import FileDataSource
from tokenreel.tasks.example_stream import ExampleStream
from tokenreel.tasks.feature_converters import FeatureConverter
from tokenreel.tasks.file_readers import FileReader
from tokenreel.tasks.mixture import Keep, Mixture
from tokenreel.tasks.providers import ShardInfo
from tokenreel.tasks.stream_nodes import Indexed, Keyed
from tokenreel.tasks.task import Task
from tokenreel.tasks.task_steps import CacheDatasetPlaceholder


class PreparedTask:
    """What `caching.units` reads in place of a task: its source gives what is to be staged, file by file where that is possible.

    Args:
      provider: the task or mixture.
      converter: makes the rows.
      config: the settings of the build.

    Attributes:
      name, splits, output_features: those of the task.
      provider, converter, config: as given.
      stages_rows: whether rows are staged, and not examples: where a converter of one's own makes rows of a whole stream.
      by_files: whether each file of the source is read by itself.
      source: what is read.
      preprocessors: the steps, and a placeholder behind them.
    """

    def __init__(self, provider: Task | Mixture, converter: FeatureConverter, config: TaskJobConfig) -> None:
        self.name, self.splits, self.output_features = provider.name, provider.splits, provider.output_features
        self.provider, self.converter, self.config = provider, converter, config
        as_in_seqio = type(converter)._convert_features is not FeatureConverter._convert_features
        self.stages_rows = as_in_seqio or converter.makes_whole_blocks
        self._cache_dirs = [*cache_directories.get_global_cache_dirs(), *config.cache_dirs]
        cache_directories.add_global_cache_dirs(self._cache_dirs)
        self._look: Callable[[Keyed], Any] | None = None
        self.by_files = False
        self.source: FileDataSource | _Whole = _Whole(self)
        self.preprocessors: Sequence[Any] = (CacheDatasetPlaceholder(),)
        if isinstance(provider, Task) and not config.use_cached and config.epochs == 1 and not self.stages_rows:
            self._read_by_files(provider)

    def _read_by_files(self, task: Task) -> None:
        """Reads files by themselves, if the source's own way to read them all is known, and no step asks for several examples."""
        source = task.source
        if not isinstance(source, FileDataSource) or type(source).get_dataset is not FileDataSource.get_dataset:
            return
        if not isinstance(source.read_file_fn, FileReader) or task.requires_caching or task.compat:  # SeqIO draws by place in the stream
            return
        steps = [step for step in task.preprocessors if not isinstance(step, CacheDatasetPlaceholder)]
        self.by_files, self.source, self.preprocessors = True, source, (*steps, CacheDatasetPlaceholder())
        if not units.maps_examples(self):
            self.by_files, self.source, self.preprocessors = False, _Whole(self), (CacheDatasetPlaceholder(),)

    @property
    def lengths(self) -> dict[str, Any]:
        """Positions of each feature of the task."""
        return dict(self.config.task_feature_lengths)

    def looked_at(self, look: Callable[[Keyed], Any]) -> PreparedTask:
        """Gives the same, whose raw examples are shown to a function as they pass; where files are read by themselves."""
        made = copy.copy(self)
        made._look = look
        return made

    def preprocess_precache(self, dataset: ExampleStream, seed: int | None = None) -> ExampleStream:
        """Runs what is left to run on what the source gives."""
        if not self.by_files:
            return dataset
        task = self.provider
        assert isinstance(task, Task)
        stream = dataset if self._look is None else dataset.map_keyed(self._look, "look")
        stream = task.finish(task.preprocess_precache(stream, seed), self.lengths, seed, self.config.trim_output_features)
        return stream.map(Keep(frozenset(self.converter.task_specs())))

    def parts(self, split: str) -> int:
        """Says in how many parts the examples of a split are staged: of a cache one a shard, if the steps behind it map examples."""
        found = self._in_shards(split)
        return 1 if found is None else len(found[1])

    def part(self, split: str, number: int) -> ExampleStream:
        """Gives the examples of a part of a split."""
        found = self._in_shards(split)
        if found is None:
            return self.examples(split)
        cached, shards = found
        return self._finish(cached.slice(slice(shards[number].start, shards[number].stop)))

    def _in_shards(self, split: str) -> tuple[Indexed, list[range]] | None:
        """Finds the cached examples of a split, and which of them each shard holds; None where they are not staged shard by shard."""
        task = self.provider
        if not isinstance(task, Task) or not self.config.use_cached or not task.supports_caching or self.config.epochs != 1:
            return None
        cached = cached_sources.stream(task, str(task.cache_dir), split, None).node
        assert isinstance(cached, Indexed)
        shards: list[range] = cached.items.shards  # type: ignore[attr-defined]
        return (cached, shards) if isinstance(units.below_maps(self._finish(cached).node), Indexed) else None

    def _finish(self, node: Indexed) -> ExampleStream:
        """Adds the steps behind the cache to some of its examples."""
        config = self.config
        return cast(Task, self.provider).finish(ExampleStream(node), self.lengths, config.seed, config.trim_output_features)

    def examples(self, split: str) -> ExampleStream:
        """Gives all examples of a split, as `get_dataset` hands them to the converter."""
        config = self.config
        cache_directories.add_global_cache_dirs(self._cache_dirs)  # on a worker, which does not import the modules
        more: dict[str, Any] = {}
        if isinstance(self.provider, Mixture):
            passed = [name for name in self.converter.task_specs() if name not in self.output_features]
            more = {"stop": config.stop, "passthrough_features": passed}
        return self.provider.get_dataset(
            sequence_length=self.lengths,
            split=split,
            use_cached=config.use_cached,
            shuffle=False,
            seed=config.seed,
            num_epochs=config.epochs,
            trim_output_features=config.trim_output_features,
            **more,
        )

    def rows(self, split: str) -> ExampleStream:
        """Gives all rows of a split, as `get_dataset` does."""
        made: ExampleStream = self.converter(self.examples(split), task_feature_lengths=self.lengths)
        return made


class _Whole:
    """A source that gives the whole split in the order of `get_dataset`, in one part or in several that follow each other."""

    def __init__(self, prepared: PreparedTask) -> None:
        self._prepared = prepared

    supports_arbitrary_sharding = False

    def list_shards(self, split: str) -> list[str]:
        """Names the parts."""
        return [split] if self._prepared.stages_rows else [f"{split}/{part}" for part in range(self._prepared.parts(split))]

    def get_dataset(self, split: str, shuffle: bool, seed: int | None, shard_info: ShardInfo | None = None) -> ExampleStream:
        """Gives the examples of a part of the split, or the rows of all."""
        prepared = self._prepared
        if prepared.stages_rows:
            return prepared.rows(split)
        part = prepared.part(split, 0 if shard_info is None else shard_info.index)
        return part.map(Keep(frozenset(prepared.converter.task_specs())))

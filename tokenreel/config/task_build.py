"""The settings of a build of a task or mixture, whose rows a feature converter makes.

Tested in tests/pipelines/test_build_tasks.py.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from tokenreel.config.build import JobConfig, ShardFiles, check_view
from tokenreel.config.parsing import require, to_dict
from tokenreel.errors import ConfigError
from tokenreel.wording import brief

STOP_RULES = ("all_used", "first_empty")
_SPLIT = re.compile(r"[A-Za-z0-9_]+")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConverterConfig:
    """What makes a model's features of a task's.

    Attributes:
      name: of a class of `tokenreel.tasks`, such as `LMFeatureConverter`, or of one in a module of `module_import`.
      pack: whether several examples share a row.
      options: further arguments of the class, such as `{bos_id: 1}` or `{mask_id: 4}`.
    """

    name: str
    pack: bool = True
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskJobConfig:
    """A build of the rows that `tokenreel.tasks.get_dataset` gives.

    Attributes:
      output: the dataset directory to write, local or `gs://`.
      task: name of a registered task.
      mixture: name of a registered mixture, in place of a task.
      module_import: modules that register it, found from the working directory or installed.
      feature_converter: makes the rows.
      task_feature_lengths: positions of each feature of the task.
      splits: that are built.
      num_epochs: passes over each split; 1 for a task. A mixture needs a number, or `stop` with a number of examples.
      stop: when a mixture ends: `all_used` with its last task, `first_empty` with its first, or after so many examples. By default as the
        mixture itself says.
      use_cached: reads caches of tasks, which `tokenreel cache-tasks` made.
      cache_dirs: directories of caches.
      trim_output_features: trims features to their lengths; the converter refuses long ones otherwise.
      shards: of rows.
      seqio_view: also write what SeqIO looks for beside shards, as for other builds; needs `shards.format: int64_list`.
      seed: of the task's random steps, and of the turns of a mixture.
    """

    output: str
    feature_converter: ConverterConfig
    task_feature_lengths: Mapping[str, Any]
    task: str | None = None
    mixture: str | None = None
    module_import: tuple[str, ...] = ()
    splits: tuple[str, ...] = ("train",)
    num_epochs: int | None = None
    stop: str | int | None = None
    use_cached: bool = False
    cache_dirs: tuple[str, ...] = ()
    trim_output_features: bool = True
    shards: ShardFiles = dataclasses.field(default_factory=ShardFiles)
    seqio_view: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        require(bool(self.output), "output is empty: name the directory to write")
        require((self.task is None) != (self.mixture is None), "task or mixture: name one of them")
        require(bool(self.task_feature_lengths), "task_feature_lengths is empty: give the positions of each feature of the task")
        for name, length in self.task_feature_lengths.items():
            sizes = length if isinstance(length, list | tuple) and length else [length]
            right = all(isinstance(size, int) and not isinstance(size, bool) and 1 <= size <= 1 << 24 for size in sizes)
            require(right, f"task_feature_lengths.{name} must be a number of positions, or the size of each axis, got {brief(length)}")
        check_view(self.seqio_view, self.shards)
        require(bool(self.splits), "splits is empty: name at least one")
        for split in self.splits:
            require(_SPLIT.fullmatch(split) is not None, f"splits: {brief(split)} is no name of a split: letters, digits and _")
        require(len(set(self.splits)) == len(self.splits), f"splits names one twice: {', '.join(self.splits)}")
        require(self.num_epochs is None or self.num_epochs >= 1, f"num_epochs must be at least 1, got {self.num_epochs}")
        require(self.stop is None or self.mixture is not None, "stop has no meaning for a task, which ends with its examples: leave it out")
        require(
            self.stop in (None, *STOP_RULES) or (isinstance(self.stop, int) and self.stop >= 1),
            f"stop must be {', '.join(STOP_RULES)} or a number of examples, got {brief(self.stop)}",
        )
        require(
            self.mixture is None or self.num_epochs is not None or isinstance(self.stop, int),
            "num_epochs is missing: say how often a mixture passes over each of its tasks, or give stop a number of examples",
        )

    @property
    def epochs(self) -> int | None:
        """Passes over each split; None for a mixture that ends by the number of its examples."""
        return 1 if self.num_epochs is None and self.task is not None else self.num_epochs

    def semantics(self) -> dict[str, Any]:
        """The settings that decide the bytes of the dataset, as plain JSON values; without paths and without how the job runs."""
        settings: dict[str, Any] = to_dict(self)
        for name in ("output", "seed", "module_import", "cache_dirs"):
            del settings[name]
        if not self.seqio_view:
            del settings["seqio_view"]
        del settings["shards"]["megabytes"]  # decides only the number of examples, which the shards tell
        return settings


def is_task_build(data: Mapping[str, Any], name: str) -> bool:
    """Says whether settings are those of a build of a task.

    Raises:
      ConfigError: they are of both kinds; names what only the other kind has.
    """
    what = next((key for key in ("task", "mixture", "feature_converter") if key in data), None)
    if what is None:
        return False
    own = {field.name for field in dataclasses.fields(TaskJobConfig)}
    others = [field.name for field in dataclasses.fields(JobConfig) if field.name in data and field.name not in own]
    if others:
        raise ConfigError(
            f"{name}: {' and '.join(others)} beside {what}: a build reads either sources, or a task, which has a source, a vocabulary and "
            f"steps of its own. Leave {'them' if len(others) > 1 else 'it'} out, or the settings of the task."
        )
    return True

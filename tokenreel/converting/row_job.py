"""What a build of a task carries to its workers: the task and its converter, what decides the rows, and the shape of a record.

Tested in tests/pipelines/test_build_tasks.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tokenreel import keys
from tokenreel.caching import cache_job, staging, units
from tokenreel.caching.cache_job import TaskCache
from tokenreel.caching.staging import Staged
from tokenreel.caching.units import Unit
from tokenreel.config.task_build import TaskJobConfig
from tokenreel.converting.prepared_task import PreparedTask
from tokenreel.converting.row_counts import RowCounts
from tokenreel.errors import BuildError, ConfigError, TokenreelError
from tokenreel.format import cache_manifest, schema
from tokenreel.format.ragged_records import ARRAY
from tokenreel.storage import files
from tokenreel.tasks import cache_identity
from tokenreel.tasks.mixture import Mixture
from tokenreel.tasks.task import Task

VERSION = "rows-1"  # of what converters make of examples, and of how it is stored
_RESERVED = (schema.EXAMPLE_ID, schema.TOKENS)  # features of records that mean something else


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowJob(TaskCache):
    """A task or mixture whose rows are built; the attributes are those of `TaskCache`, and `load` gives a `PreparedTask`.

    Attributes:
      config: the settings.
      shapes: dtype and shape of each feature of a row.
    """

    config: TaskJobConfig
    shapes: Mapping[str, tuple[str, tuple[int, ...]]]

    @classmethod
    def prepare(cls, prepared: PreparedTask, pickles: Callable[[Any], bytes]) -> RowJob:
        """Looks at a task's source and steps, and at the first row of each split.

        Args:
          prepared: the task.
          pickles: makes bytes of it.

        Raises:
          ConfigError: there is no such split, nothing tells what a step does, or the rows cannot be stored.
          BuildError: a file is missing, or there is no example.
        """
        config, provider, names = prepared.config, prepared.provider, list(prepared.splits)
        for split in config.splits:
            if split not in names:
                raise ConfigError(f"splits: {prepared.name!r} has no split {split!r}; it has {', '.join(names)}")
        tasks = provider.tasks if isinstance(provider, Mixture) else [provider]
        try:
            made_of = {task.name: _describe_task(task, prepared) for task in tasks}
        except ValueError as error:
            raise ConfigError(str(error)) from error
        identity = {
            "algorithms": {"cache": staging.VERSION, "rows": VERSION, "steps": cache_identity.VERSION},
            "settings": config.semantics(),
            "converter": cache_identity.describe(prepared.converter),
            "tasks": made_of,
            "seed": config.seed,
        }
        if isinstance(provider, Mixture):
            identity["rates"] = provider.told_rates()
            identity["stop"] = provider.stop if config.stop is None else config.stop
            identity["sample_fn"] = None if provider.sample_fn is None else cache_identity.describe(provider.sample_fn)
        listed = (units.list_inputs(prepared.source, split) for split in config.splits) if prepared.by_files else ()
        return cls(
            name=prepared.name,
            pickled=pickles(prepared),
            splits=tuple(names.index(split) for split in config.splits),
            directory=config.output,
            identity=identity,
            seed=config.seed,
            wire=ARRAY,
            unit_bytes=cache_job.unit_bytes(listed),
            config=config,
            shapes=_look(prepared),
        )

    def stage(self, unit: Unit, first: int) -> Staged:
        """Writes the examples of a unit, and what each brings into a row."""
        prepared: PreparedTask = self.load()
        counts = RowCounts(prepared)
        task = prepared.looked_at(counts.look)
        return staging.stage(task, unit, first, self.seed, self.wire, self.made_by, self.work.stages, counts)


def _describe_task(task: Task, prepared: PreparedTask) -> dict[str, Any]:
    """Describes what decides the examples of a task: its steps and its files, or its cache and the steps behind that."""
    config = prepared.config
    splits = [split for split in config.splits if split in task.splits]
    steps = task.preprocessors
    told: dict[str, Any] = {"features": cache_identity.describe_features(task), **({"compat": task.compat} if task.compat else {})}
    if config.use_cached and task.supports_caching:
        places = [place for place, step in enumerate(steps) if type(step).__name__ == "CacheDatasetPlaceholder"]
        return told | {"cache": _describe_cache(task), "steps": cache_identity.describe_each(task.name, steps[places[0] + 1 :])}
    without = [step for step in steps if type(step).__name__ != "CacheDatasetPlaceholder"]
    return told | {
        "steps": cache_identity.describe_each(task.name, without),
        "source": cache_identity.describe_source(task.source),
        "inputs": {split: cache_job.describe_inputs(task.source, split, units.list_inputs(task.source, split)) for split in splits},
    }


def _describe_cache(task: Task) -> str:
    """Identifies a cache; one that SeqIO wrote by the names and sizes of its files.

    Raises:
      ConfigError: there is none.
    """
    if not task.cache_dir:
        raise ConfigError(
            f"use_cached: {task.name!r} has no cache in cache_dirs. Name its directory there, or run `tokenreel cache-tasks`."
        )
    manifest = cache_manifest.find(task.cache_dir)
    return keys.digest(repr(sorted(files.list_files(task.cache_dir).items()))) if manifest is None else manifest.fingerprint


def _look(prepared: PreparedTask) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Makes the first row of each split, which tells what is wrong with all, and what a record holds.

    Raises:
      ConfigError: the task and the converter do not go together, or rows cannot be stored.
      BuildError: there is no example.
    """
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    for split in prepared.config.splits:
        where = f"{prepared.name!r}, split {split!r}"
        try:
            row = next(iter(prepared.rows(split)), None)
        except (ValueError, AssertionError) as error:  # of which errors about settings are
            raise ConfigError(f"{where}: {error}") from error
        except TokenreelError:
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {str(error).strip() or 'no message'}"
            raise ConfigError(f"{where}: a step of the task failed with {what[:600]}. Correct the step; --debug shows where.") from error
        if row is None:
            raise BuildError(f"{where}: gives no example. Correct the source or the steps, or leave the split out of splits.")
        shapes = {name: (_dtype(name, np.asarray(value)), np.shape(value)) for name, value in row.items()}
        if found and shapes != found:
            raise ConfigError(
                f"{where}: its rows have other shapes than those of split {prepared.config.splits[0]!r}. Build each by itself."
            )
        found = shapes
    return found


def _dtype(name: str, value: np.ndarray[Any, Any]) -> str:
    """Names the dtype that a feature is stored in.

    Raises:
      ConfigError: records do not hold such values.
    """
    dtype = schema.BIT if value.dtype == np.bool_ else value.dtype.name
    if dtype not in schema.DTYPES or name in _RESERVED:
        what = f"is called {name}, which records keep for something else" if name in _RESERVED else f"is of dtype {dtype}"
        known = ", ".join({"bool": None, **dict.fromkeys(each for each in schema.DTYPES if each != schema.BIT)})
        raise ConfigError(
            f"feature {name!r} of the rows {what}; a dataset holds {known}, under names of their own. Leave it out of the converter's "
            "features, or convert it in a step of the task."
        )
    return dtype

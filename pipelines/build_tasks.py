"""Tasks to datasets: what `tokenreel build CONFIG` does where the config names a task or mixture and a feature converter.

The rows are those of `tokenreel.tasks.get_dataset` with the same converter, in the same order.
"""

import argparse
import dataclasses
import functools
import itertools
import os
import sys
from collections.abc import Sequence
from typing import Any

import apache_beam as beam

from pipelines import local
from pipelines.pickled_tasks import pickled
from tokenreel.assembly import output
from tokenreel.caching import units
from tokenreel.caching.cache_job import CacheJob
from tokenreel.config import paths
from tokenreel.config.task_build import ConverterConfig, TaskJobConfig
from tokenreel.converting import row_output
from tokenreel.converting.prepared_task import PreparedTask
from tokenreel.converting.row_job import RowJob
from tokenreel.errors import ConfigError
from tokenreel.format import manifest
from tokenreel.format.manifest import Manifest
from tokenreel.storage import files, links, locking
from tokenreel.storage.stored_value import StoredValue
from tokenreel.tasks import task_modules
from tokenreel.tasks.mixture import Mixture, MixtureRegistry
from tokenreel.tasks.task import TaskRegistry
from tokenreel.wording import plain, plural
from transforms.cache_tasks import StageTasks
from transforms.convert_tasks import WriteRows


def build(root: beam.Pipeline, job: CacheJob) -> beam.PCollection[str]:
    """A task to a dataset, whose fingerprint comes out."""
    tables = job.work.tables
    stored = StoredValue.store(tables.ready(), "job", job)
    staged = root | StageTasks(stored, tables)  # table of Staged
    return staged | WriteRows(stored, tables)


def run(config: TaskJobConfig, arguments: argparse.Namespace, beam_arguments: Sequence[str] = ()) -> Manifest | None:
    """Builds a dataset, or finds it complete.

    Args:
      config: the settings.
      arguments: of the command line, beside the config.
      beam_arguments: for Beam.

    Returns:
      its manifest; None if the job was handed to a remote runner without waiting.

    Raises:
      TokenreelError: with a message that stands alone.
    """
    parsed = local.options(beam_arguments, releases_gil=False)
    leaves = local.leaves(parsed, no_wait=arguments.no_wait)
    directory = files.absolute(links.follow(config.output, "output", local.note))
    caches = tuple(paths.resolve(each, os.getcwd()) for each in config.cache_dirs)  # workers may have another working directory
    config = dataclasses.replace(config, output=directory, cache_dirs=caches)
    task_modules.import_modules(config.module_import, "module_import")
    prepared = PreparedTask(_provider(config), _converter(config), config)
    tasks = prepared.provider.tasks if isinstance(prepared.provider, Mixture) else [prepared.provider]
    read = [("cache_dirs", path) for path in caches] if config.use_cached else units.some_files(tasks, config.splits)
    local.check_paths(parsed, itertools.chain([("output", directory)], read))
    job = RowJob.prepare(prepared, functools.partial(pickled, modules=config.module_import))
    local.check_endpoint(parsed)
    with locking.lock(directory, lost=local.stop) as hold:
        finished: Manifest | None = output.make_ready(
            row_output.wanted(job), overwrite=arguments.overwrite, recheck=arguments.recheck, note=local.note, before_changes=hold.claim
        )
        if finished is None:
            job = dataclasses.replace(job, claim=hold.claim())
            print(f"tokenreel: building {plain(directory)} from {plain(job.name)}, {local.describe(parsed)}", file=sys.stderr)
            graph, rest = functools.partial(build, job=CacheJob(caches=(job,))), functools.partial(output.remove_stage, directory)
            if local.run_job(graph, [(hold, rest)], parsed, local.guard(), leaves=leaves) is None:
                return None
            finished = manifest.read(directory)
        else:
            print(f"tokenreel: {plain(directory)} is complete already", file=sys.stderr)
            local.answer_launcher(parsed)
        output.remove_stage(directory)
    return finished


def _provider(config: TaskJobConfig) -> Any:
    """Finds the task or mixture.

    Raises:
      ConfigError: none of this name is registered.
    """
    setting, name = ("task", config.task) if config.task is not None else ("mixture", config.mixture)
    registry, other, what = (
        (TaskRegistry, MixtureRegistry, "mixture") if config.task is not None else (MixtureRegistry, TaskRegistry, "task")
    )
    if name in registry.names():
        return registry.get(str(name))
    if name in other.names():
        raise ConfigError(f"{setting}: {name!r} is a {what}: name it as {what}, in place of {setting}")
    known = ", ".join(sorted(registry.names())) or "none: name the module that registers it in module_import"
    raise ConfigError(f"{setting}: no {setting} {name!r} is registered; there are {known}")


def _converter(config: TaskJobConfig) -> Any:
    """Makes the feature converter, of the kind that the lengths ask for.

    Raises:
      ConfigError: there is no such class, it is no feature converter, or it does not take its arguments or the lengths.
    """
    from tokenreel.tasks.feature_converters import DecoderFeatureConverter

    settings = config.feature_converter
    kind = _converter_class(settings, config.module_import)
    try:
        converter = kind(**{"pack": settings.pack, **settings.options})
        if isinstance(converter, DecoderFeatureConverter):
            converter = converter.chosen(config.task_feature_lengths)
        converter.check_lengths(config.task_feature_lengths)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"feature_converter {settings.name}: {error}") from error
    return converter


def _converter_class(settings: ConverterConfig, modules: Sequence[str]) -> Any:
    """Finds the class of a converter, in `tokenreel.tasks` or in a module that was imported.

    Raises:
      ConfigError: there is none, or it is no feature converter.
    """
    from tokenreel.tasks import feature_converters

    places = [feature_converters, *(sys.modules[module] for module in modules if module in sys.modules)]
    found = [getattr(place, settings.name) for place in places if hasattr(place, settings.name)]
    known = sorted(name for name in vars(feature_converters) if name.endswith("FeatureConverter") and name != "FeatureConverter")
    own = f"; there are {', '.join(known)}, and those of the modules in module_import"
    if not found:
        raise ConfigError(f"feature_converter.name: no class {settings.name!r}{own}")
    if not (isinstance(found[0], type) and issubclass(found[0], feature_converters.FeatureConverter)):
        raise ConfigError(f"feature_converter.name: {settings.name} is no feature converter{own}")
    return found[0]


def summary(found: Manifest) -> str:
    """What `build` prints at its end of such a dataset."""
    lines = [
        f"{name}: {plural(split.examples, 'row')} of {found.seq_len:,} positions in {plural(len(split.shards), 'shard')}, "
        f"{sum(shard.bytes for shard in split.shards) / 1e6:,.1f} MB"
        for name, split in found.splits.items()
    ]
    return "\n".join([*lines, f"examples of the task: {found.totals['task_examples']:,}", f"fingerprint: {found.fingerprint}"])

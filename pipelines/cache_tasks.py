"""Tasks to caches: `tokenreel cache-tasks --tasks REGEX --module_import MODULE --output_cache_dir DIR`.

The steps of each task before its `CacheDatasetPlaceholder` run once, and what they make is written as shards that `get_dataset` reads with
`use_cached=True`. With `--mixtures REGEX` the order in which a mixture draws from them is written, too, for `use_cached="mixture"`.
"""

import argparse
import contextlib
import dataclasses
import functools
import itertools
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import local
from pipelines.pickled_tasks import pickled
from tokenreel.caching import cache_output, units
from tokenreel.caching.cache_job import CacheJob, TaskCache
from tokenreel.caching.mixture_job import End, MixtureCache
from tokenreel.caching.threads_or_processes import prefers_threads
from tokenreel.errors import ConfigError
from tokenreel.format.cache_manifest import CacheManifest
from tokenreel.format.mixture_manifest import MixtureManifest, SplitOfMixture
from tokenreel.storage import files, locking
from tokenreel.storage.stored_value import StoredValue
from tokenreel.tasks import task_modules
from tokenreel.tasks.mixing import ALL_USED, FIRST_EMPTY
from tokenreel.wording import plain, plural
from transforms.cache_mixtures import DrawMixtures
from transforms.cache_tasks import StageTasks, WriteCaches

_Cache = TypeVar("_Cache", TaskCache, MixtureCache)


def build(root: beam.Pipeline, job: CacheJob) -> beam.PCollection[str]:
    """Tasks to caches, and mixtures to their orders over these; their fingerprints come out."""
    tables = job.work.tables
    stored = StoredValue.store(tables.ready(), "job", job)
    if job.caches:
        staged = root | StageTasks(stored, tables)  # table of Staged
        written = staged | WriteCaches(stored, tables)
    else:
        written = root | "NoTasks" >> beam.Create([]).with_output_types(str)
    return written | DrawMixtures(stored) if job.mixtures else written


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line, with SeqIO's names; what it does not know goes to Beam."""
    parser.add_argument("--tasks", nargs="+", default=[], metavar="REGEX", help="tasks to cache: patterns that match a whole name")
    parser.add_argument("--mixtures", nargs="+", default=[], metavar="REGEX", help="mixtures whose order is cached, and whose tasks are")
    parser.add_argument(
        "--mixture_stop", choices=[ALL_USED, FIRST_EMPTY], help="end with the last task, or the first; by default the mixture's own rule"
    )
    parser.add_argument("--mixture_examples", type=int, metavar="N", help="end after so many examples")
    parser.add_argument("--mixture_tokens", type=int, metavar="N", help="end before there are more tokens of output features")
    parser.add_argument(
        "--mixture_epochs",
        type=int,
        metavar="N",
        help="passes over each task; 1 by default, or as many as --mixture_examples or --mixture_tokens take without --mixture_stop",
    )
    parser.add_argument("--excluded_tasks", nargs="+", default=[], metavar="REGEX", help="tasks to leave out")
    parser.add_argument(
        "--module_import", nargs="+", action="extend", default=[], metavar="MODULE", help="modules that register the tasks; may be repeated"
    )
    parser.add_argument("--output_cache_dir", required=True, metavar="DIR", help="directory below which each cache gets its own")
    parser.add_argument("--splits", nargs="+", metavar="SPLIT", help="splits to cache; all by default")
    parser.add_argument("--overwrite", action="store_true", help="replace caches that are there, SeqIO's too")
    parser.add_argument("--min_shards", type=int, default=1, metavar="N", help="shards of a split, at least; 1 by default")
    parser.add_argument("--max_shards", type=int, metavar="N", help="shards of a split, at most; by default as its size asks for")
    parser.add_argument("--base_seed", type=int, metavar="N", help="seed of random steps; 0 by default")
    parser.add_argument(
        "--seqio_view", action="store_true", help="write what SeqIO itself reads, too: its wire types, info, stats, COMPLETED"
    )
    parser.add_argument(
        "--enable_char_counts", action="store_true", help="count the characters of output features, for mixing_rate_num_characters"
    )
    parser.add_argument("--completed_file_contents", default="", metavar="TEXT", help="what COMPLETED holds; needs --seqio_view")
    parser.add_argument("--no-wait", action="store_true", help="return once a remote runner has taken the job (for templates)")


def run(arguments: argparse.Namespace, beam_arguments: Sequence[str] = ()) -> Mapping[str, CacheManifest | MixtureManifest] | None:
    """Caches tasks, or finds them cached.

    Returns:
      the manifest of each cache, by the name of its task or mixture; None if the job was handed to a remote runner without waiting.

    Raises:
      TokenreelError: with a message that stands alone.
    """
    local.quiet_logging()
    _check(arguments)
    parsed = local.options(beam_arguments, releases_gil=False)
    leaves = local.leaves(parsed, no_wait=arguments.no_wait)
    tasks, mixtures = _choose(arguments)
    directory = arguments.output_cache_dir
    if not files.is_remote(directory):
        directory = os.path.abspath(os.path.expanduser(directory))
    local.check_paths(parsed, itertools.chain([("--output_cache_dir", directory)], units.some_files(tasks, arguments.splits)))
    local.check_endpoint(parsed)
    pickles = functools.partial(pickled, modules=arguments.module_import)
    completed = arguments.completed_file_contents if arguments.seqio_view else None
    caches = [_cache_of(task, directory, arguments, pickles) for task in tasks]
    orders = [_order_of(mixture, caches, directory, arguments, pickles) for mixture in mixtures]
    with contextlib.ExitStack() as stack:
        everything: list[TaskCache | MixtureCache] = [*caches, *orders]
        holds = {cache.directory: stack.enter_context(locking.lock(cache.directory, lost=local.stop)) for cache in everything}

        def choose(each: _Cache) -> list[_Cache]:
            hold, view = holds[each.directory], completed if isinstance(each, TaskCache) else None
            found = cache_output.prepare(each, view, overwrite=arguments.overwrite, note=local.note, before_changes=hold.claim)
            if found is None:
                return [dataclasses.replace(each, claim=hold.claim())]
            print(f"tokenreel: {plain(each.directory)} is complete already", file=sys.stderr)
            cache_output.remove_stage(each.directory)
            return []

        wanted = [each for cache in caches for each in choose(cache)]
        made_again = {cache.name for cache in wanted}
        drawn = [each for order in orders for each in choose(order.with_known_rates(made_again))]
        if wanted or drawn:
            parsed = _choose_workers(beam_arguments, parsed, wanted)
            names = ", ".join([*(cache.name for cache in wanted), *(cache.name for cache in drawn)])
            print(f"tokenreel: caching {plain(names)} in {plain(directory)}, {local.describe(parsed)}", file=sys.stderr)
            job = CacheJob(
                caches=tuple(wanted),
                mixtures=tuple(drawn),
                min_shards=arguments.min_shards,
                max_shards=arguments.max_shards,
                completed=completed,
            )
            places = [*(cache.directory for cache in wanted), *(cache.directory for cache in drawn)]
            outputs = [(holds[place], functools.partial(cache_output.remove_stage, place)) for place in places]
            if local.run_job(functools.partial(build, job=job), outputs, parsed, local.guard(), leaves=leaves) is None:
                return None
            for _, remove in outputs:
                remove()
        else:
            local.answer_launcher(parsed)
    return {cache.name: manifest for cache in everything if (manifest := cache.find()) is not None}


def _choose_workers(beam_arguments: Sequence[str], parsed: PipelineOptions, wanted: Sequence[TaskCache]) -> PipelineOptions:
    """Takes threads in place of processes that nobody asked for, where they are sooner done, and checks that so many can be started."""
    threaded = local.with_threads(beam_arguments, parsed)
    chosen = threaded if threaded is not None and prefers_threads(wanted) else parsed
    local.check_threads(local.threads(chosen))
    return chosen


def _cache_of(task: Any, directory: str, arguments: argparse.Namespace, pickles: Callable[[Any], bytes]) -> TaskCache:
    """Looks at a task that is to be cached; raises what `TaskCache.of` does."""
    splits, view, characters = _splits_of(task, arguments.splits), arguments.seqio_view, arguments.enable_char_counts
    return TaskCache.of(task, directory, splits, arguments.base_seed, view, pickles, characters=characters)


def _order_of(
    mixture: Any, caches: Sequence[TaskCache], directory: str, arguments: argparse.Namespace, pickles: Callable[[Any], bytes]
) -> MixtureCache:
    """Looks at a mixture whose order is to be cached.

    Raises:
      ConfigError: it cannot be.
    """
    made = {cache.name: cache.made_by for cache in caches}
    if mixture.name in made:
        raise ConfigError(f"mixture {mixture.name!r}: a task has its name, and both would be cached in one directory. Rename one of them.")
    end = End.of(mixture, arguments.mixture_stop, arguments.mixture_epochs, arguments.mixture_examples, arguments.mixture_tokens)
    return MixtureCache.of(mixture, made, directory, arguments.splits, arguments.base_seed, end, pickles)


def _check(arguments: argparse.Namespace) -> None:
    """Checks what the options say together.

    Raises:
      ConfigError: they contradict each other.
    """
    if not arguments.tasks and not arguments.mixtures:
        raise ConfigError("give --tasks or --mixtures: patterns of the names of what is to be cached")
    for name in ("mixture_examples", "mixture_tokens", "mixture_epochs"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} must be at least 1, got {value}")
    if arguments.min_shards < 1:
        raise ConfigError(f"--min_shards must be at least 1, got {arguments.min_shards}")
    if arguments.max_shards is not None and arguments.max_shards < arguments.min_shards:
        raise ConfigError(f"--max_shards must be at least --min_shards {arguments.min_shards}, got {arguments.max_shards}")
    if arguments.completed_file_contents and not arguments.seqio_view:
        raise ConfigError(
            "--completed_file_contents is what SeqIO's file COMPLETED holds, which is written with --seqio_view alone: add it"
        )


def _choose(arguments: argparse.Namespace) -> tuple[list[Any], list[Any]]:
    """Imports the modules, and finds the tasks and mixtures asked for; the tasks of these mixtures are among the tasks.

    Raises:
      ConfigError: a module cannot be imported, or nothing that can be cached is asked for.
    """
    from tokenreel.tasks.mixture import MixtureRegistry
    from tokenreel.tasks.task import TaskRegistry

    task_modules.import_modules(arguments.module_import)
    mixtures = _matching("--mixtures", arguments.mixtures, MixtureRegistry)
    tasks = _matching("--tasks", arguments.tasks, TaskRegistry, arguments.excluded_tasks)
    found = {task.name: task for task in tasks if task.supports_caching}
    for task in tasks:
        if not task.supports_caching:
            local.note(f"task {task.name}: has no CacheDatasetPlaceholder among its steps, and is not cached")
    if tasks and not found:
        raise ConfigError(f"--tasks {' '.join(arguments.tasks)}: none of {plural(len(tasks), 'task')} has a CacheDatasetPlaceholder")
    for mixture in mixtures:
        for task in mixture.tasks:
            if not task.supports_caching:
                raise ConfigError(f"mixture {mixture.name!r}: its task {task.name!r} has no CacheDatasetPlaceholder among its steps")
            if found.setdefault(task.name, task) is not task:
                raise ConfigError(f"mixture {mixture.name!r}: another task than its own has the name {task.name!r}. Rename one of them.")
    return [found[name] for name in sorted(found)], mixtures


def _matching(option: str, patterns: Sequence[str], registry: Any, excluded: Sequence[str] = ()) -> list[Any]:
    """Finds what is registered under names that match a pattern, and none that is excluded.

    Raises:
      ConfigError: there is none, though one is asked for.
    """
    wanted, unwanted = _compile(option, patterns), _compile(f"--excluded_{option[2:]}", excluded)
    names = sorted(registry.names())
    found = [name for name in names if any(each.fullmatch(name) for each in wanted) and not any(each.fullmatch(name) for each in unwanted)]
    if patterns and not found:
        known = f"registered are {', '.join(names)}" if names else "none is registered: add --module_import"
        raise ConfigError(f"{option} {' '.join(patterns)}: matches no {option[2:-1]}; {known}")
    return [registry.get(name) for name in found]


def _compile(option: str, patterns: Sequence[str]) -> list[re.Pattern[str]]:
    try:
        return [re.compile(pattern) for each in patterns for pattern in each.split(",") if pattern]
    except re.error as error:
        raise ConfigError(f"{option}: {error.pattern!r} is no regular expression ({error})") from error


def _splits_of(task: Any, splits: Sequence[str] | None) -> list[str] | None:
    """Gives those of the wanted splits that a task has; all that are wanted where it has none of them, which is refused then."""
    if splits is None:
        return None
    return [split for split in splits if split in task.splits] or list(splits)


def summary(made: Mapping[str, CacheManifest | MixtureManifest]) -> str:
    """What the command prints at its end."""
    lines = []
    for name, manifest in made.items():
        if isinstance(manifest, MixtureManifest):
            lines += [_describe_order(name, split, found) for split, found in manifest.splits.items()]
            continue
        for split, found in manifest.splits.items():
            size = sum(shard.data.bytes for shard in found.shards)
            told = f"{plural(found.examples, 'example')} in {plural(len(found.shards), 'shard')}, {size / 1e6:,.1f} MB"
            lines.append(f"{name}, {split}: {told}")
    return "\n".join(lines)


def _describe_order(name: str, split: str, found: SplitOfMixture) -> str:
    shares = ", ".join(f"{task} {found.statistics[f'{task}_examples']:,}" for task in found.tasks)
    tokens = f", {found.statistics['tokens']:,} tokens" if "tokens" in found.statistics else ""
    passes = f", each passed over {found.epochs:,} times at most" if found.epochs > 1 else ""
    return f"{name}, {split}: {plural(found.examples, 'example')}{tokens} ({shares}){passes}"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; exit code 0 when the caches are complete, 2 for a mistake in options or input, 1 for a failure."""
    from pipelines import cli

    return cli.main(["cache-tasks", *(sys.argv[1:] if argv is None else argv)], ends=argv is None)


if __name__ == "__main__":
    sys.exit(main())

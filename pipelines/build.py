"""Raw text to training-ready shards: `tokenreel build CONFIG`, or `python -m pipelines.build CONFIG`."""

import argparse
import dataclasses
import functools
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import apache_beam as beam
from apache_beam.metrics import MetricsFilter
from apache_beam.runners.runner import PipelineResult

from pipelines import local
from pipelines.progress import BuildProgress
from tokenreel.assembly import output
from tokenreel.assembly.summary import summarize
from tokenreel.config import reading
from tokenreel.config.build import JobConfig
from tokenreel.config.task_build import TaskJobConfig
from tokenreel.config.workspace import Workspace
from tokenreel.curation import scores
from tokenreel.curation.filters import Rules, load_rules
from tokenreel.curation.inputs import survey
from tokenreel.format import manifest
from tokenreel.format.manifest import Manifest
from tokenreel.planning import identity as planning_identity
from tokenreel.planning import merge_plan, shard_plan, stage_table
from tokenreel.planning.recipe import Recipe, make_recipe
from tokenreel.sources.inputs import InputFile
from tokenreel.staging import being_read
from tokenreel.storage import files, links, locking
from tokenreel.storage.stored_value import StoredValue
from tokenreel.vocabularies.base import Vocabulary
from tokenreel.vocabularies.huggingface import HuggingFaceVocabulary
from tokenreel.vocabularies.loading import open_vocabulary
from tokenreel.vocabularies.ranks.vocabulary import RankVocabulary
from tokenreel.vocabularies.sampled import sampled
from tokenreel.wording import plain, plural
from transforms.build_shards import BuildShards
from transforms.check_ids import CheckIds
from transforms.filter_by_scores import FilterByScores
from transforms.gather_rows import GatherRows
from transforms.list_blocks import ListBlocks
from transforms.merge_stages import MergeStages
from transforms.plan_shards import PlanShards
from transforms.remove_duplicates import RemoveDuplicateDocuments, RemoveDuplicateText
from transforms.tokenize_blocks import BLOCKS, CACHED, TokenizeBlocks
from transforms.write_manifest import WriteManifest


def build(
    root: beam.Pipeline,
    recipe: Recipe,
    work: Workspace,
    vocabulary: Vocabulary,
    rules: Sequence[Rules],
    inputs: Mapping[str, Any],
    merge_levels: tuple[int, int] = (0, 0),
) -> beam.PCollection[str]:
    """Raw text in the sources of a config to shards and a manifest in its output, whose fingerprint comes out.

    Stage files, and the tables by which duplicates are found, are merged `merge_levels` times at most.
    """
    job, (stage_levels, table_levels) = recipe.config, merge_levels
    # Files of their own: a graph has to stay small, whatever the vocabulary.
    store = functools.partial(StoredValue.store, work.tables.ready())
    everything, words = store("recipe", recipe), store("vocabulary", vocabulary)
    blocks = root | ListBlocks(job, inputs)  # Block: byte ranges of files
    if job.duplicates.remove in ("paragraphs", "lines"):
        blocks |= RemoveDuplicateText(job, work, table_levels)  # Block, with what to leave out of it
    stages = (
        blocks
        | TokenizeBlocks(job, words, store("rules", tuple(rules)), work)  # StageSelection: counts and paths
        | "CollectStages" >> beam.CombineGlobally(GatherRows(stage_table.to_row, work.tables, "stages", stage_table.SORT_BY))
    )  # table of StageSelection, as the text lies
    if job.duplicates.remove == "documents":
        stages |= RemoveDuplicateDocuments(job, work, table_levels)
    if any(source.id_field is not None for source in job.sources):
        stages |= CheckIds(job, work, table_levels)
    if any(contents := scores.digests(job)):
        stages |= FilterByScores(job, work, contents)
    read = stages | MergeStages(everything, work, inputs, stage_levels) if stage_levels else stages  # table of what shards are made of
    plan = (stages, read) | PlanShards(everything, work, inputs)  # table of SplitPlan
    built = (plan, stages, read) | BuildShards(everything, work)  # BuiltShard
    return (stages, plan, built) | WriteManifest(everything, work, words, inputs)  # last: the file means "complete"


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Declares what says which dataset is meant."""
    parser.add_argument("config", help="YAML file with the settings of the build")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="override a setting, e.g. packing.seq_len=1024")
    parser.add_argument("--input", nargs="+", metavar="PATH", help="files, globs or directories in place of the config's only source")
    parser.add_argument("--output", metavar="DIR", help="dataset directory in place of the config's")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; what it does not know goes to Beam."""
    add_settings(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace what a build left in the output directory")
    parser.add_argument(
        "--recheck", action="store_true", help="read all text and all files of a finished dataset before it counts as complete"
    )
    parser.add_argument("--no-wait", action="store_true", help="return once a remote runner has taken the job (for templates)")


def run(arguments: argparse.Namespace, beam_arguments: Sequence[str] = ()) -> Manifest | None:
    """Builds a dataset, or finds it complete.

    Returns:
      its manifest; None if the job was handed to a remote runner without waiting.

    Raises:
      TokenreelError: with a message that stands alone.
    """
    local.quiet_logging()
    config = reading.read_build(arguments.config, arguments.set, input=arguments.input, output=arguments.output)
    if isinstance(config, TaskJobConfig):
        from pipelines import build_tasks  # loads the room of tasks, which builds of text do without

        return build_tasks.run(config, arguments, beam_arguments)
    return _run(_follow_links(config), arguments, beam_arguments)


def _run(job: JobConfig, arguments: argparse.Namespace, beam_arguments: Sequence[str]) -> Manifest | None:
    """Builds a dataset of text: see `run`."""
    model = open_vocabulary(job.vocabulary.kind, job.vocabulary.path, job.vocabulary.options)
    vocabulary = sampled(model, job.vocabulary.sampling, seed=job.seed)
    parsed = local.options(beam_arguments, releases_gil=vocabulary.releases_gil)
    job = local.absolute(job, parsed)
    recipe = make_recipe(job, model)  # the manifest names the vocabulary itself
    if isinstance(model, HuggingFaceVocabulary | RankVocabulary):
        local.note(f"{plain(str(job.vocabulary.path))}: {model.describe_special()}")
        local.note(f"{plain(str(job.vocabulary.path))}: {model.describe_speed()}")
    rules = [load_rules(job.filters_of(index)) for index in range(len(job.sources))]
    leaves = local.leaves(parsed, no_wait=arguments.no_wait)
    inputs, listed = survey(job, local.note)
    count, size = (sum(source[name] for source in inputs.values()) for name in ("files", "bytes"))
    local.suit_size(beam_arguments, parsed, count, size)
    model.expect(size)
    local.check(parsed, job, listed)
    local.check_endpoint(parsed)
    local.check_threads(local.threads(parsed))
    with locking.lock(job.output, lost=local.stop) as hold:
        finished = output.prepare(
            recipe,
            inputs,
            listed,
            overwrite=arguments.overwrite,
            recheck=arguments.recheck,
            note=local.note,
            before_changes=hold.claim,
        )
        if finished is None:
            levels = _plan_merges(recipe, vocabulary, listed)
            work = Workspace.of(job, planning_identity.identity(recipe, inputs), hold.claim())
            for mark in being_read.left(work.marks):
                local.note(f"a process of this build ended while it read {mark}")
            print(
                f"tokenreel: building {plain(job.output)} from {plural(count, 'file')}, {size / 1e6:,.1f} MB, {local.describe(parsed)}",
                file=sys.stderr,
            )
            seconds = 30.0 if files.is_remote(job.output) else 5.0
            result = local.run_job(
                lambda pipeline: build(pipeline, recipe, work, vocabulary, rules, inputs, levels),
                [(hold, functools.partial(output.remove_stage, job.output))],
                parsed,
                _guard(work.marks),
                local.show_progress(BuildProgress(job, vocabulary, rules), seconds),
                leaves=leaves,
            )
            if result is None:
                return None
            print(_from_cache(result), file=sys.stderr)
            finished = manifest.read(job.output)
        else:
            print(f"tokenreel: {plain(job.output)} is complete already", file=sys.stderr)
            local.answer_launcher(parsed)
        output.remove_stage(job.output)
    return finished


def _plan_merges(recipe: Recipe, vocabulary: Vocabulary, listed: Sequence[Sequence[InputFile]]) -> tuple[int, int]:
    """Plans merge passes by the sizes of the files, and tells; gives how many the job must be able to make, of stage files and of hashes.

    Raises:
      BuildError: even they would not be enough.
    """
    job, shard = recipe.config, shard_plan.tokens_per_shard(recipe)
    sizes = merge_plan.estimate_all(job, listed, vocabulary.vocab_size)
    planned = merge_plan.plan(job, sizes, shard)
    merge_plan.check(planned, job)
    if planned.levels:
        local.note(f"planned by the size of the files: {planned}")
    return merge_plan.levels_to_prepare(job, sizes, shard), merge_plan.table_levels_to_prepare(job, sizes)


def _guard(marks: str) -> AbstractContextManager[None]:
    """Watches over the workers; `marks` say what they read."""
    return local.guard(lambda: "".join(f", while it read {mark}" for mark in being_read.left(marks)[:1]), lambda: being_read.clear(marks))


def _follow_links(job: JobConfig) -> JobConfig:
    """Gives the settings with the directories that links lead to, where the build writes to a link."""
    execution = job.execution
    if execution.stage is not None:
        execution = dataclasses.replace(execution, stage=links.follow(execution.stage, "execution.stage", local.note))
    return dataclasses.replace(job, output=links.follow(job.output, "output", local.note), execution=execution)


def _from_cache(result: PipelineResult) -> str:
    """How many blocks were found tokenized. Counted by attempts, so a repeated bundle counts twice: for people, not for the manifest."""
    counters = result.metrics().query(MetricsFilter().with_namespace("tokenreel"))["counters"]
    counts = {counter.key.metric.name: counter.result for counter in counters}
    blocks, cached = counts.get(BLOCKS, 0), counts.get(CACHED, 0)
    made = f"{blocks - cached:,} {'was' if blocks - cached == 1 else 'were'} tokenized"
    return f"tokenreel: {cached:,} of {plural(blocks, 'block')} came from the token cache, {made}"


def summary(found: Manifest) -> str:
    """What the command prints at its end."""
    if manifest.holds_task_rows(found):
        from pipelines import build_tasks

        return build_tasks.summary(found)
    return summarize(found)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; exit code 0 when the dataset is complete, 2 for a mistake in settings or input, 1 for a failure."""
    from pipelines import cli

    return cli.main(["build", *(sys.argv[1:] if argv is None else argv)], ends=argv is None)


if __name__ == "__main__":
    sys.exit(main())

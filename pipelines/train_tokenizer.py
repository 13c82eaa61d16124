"""Raw text to a tokenizer: `tokenreel train-tokenizer CONFIG`, or `python -m pipelines.train_tokenizer CONFIG`."""

import argparse
import dataclasses
import functools
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam

from pipelines import local
from tokenreel.assembly import remembered_inputs
from tokenreel.config import reading
from tokenreel.config.tokenizer import TokenizerJobConfig
from tokenreel.config.workspace import Workspace
from tokenreel.curation.filters import load_rules
from tokenreel.curation.inputs import survey
from tokenreel.sources.blocks import list_blocks
from tokenreel.storage import files, links, locking
from tokenreel.tokenizer_training import character_fitting, sample_plan, sentencepiece_training
from tokenreel.tokenizer_training import output as tokenizer_output
from tokenreel.wording import plain, plural
from transforms.fit_characters import CountBlocks, CountSample, FitCharacters
from transforms.list_blocks import ListBlocks
from transforms.sample_documents import SampleDocuments
from transforms.train_tokenizer import TRAINING, TrainSentencePiece, WriteTokenizer


class TrainingProgress:
    """Says how much of the text of a tokenizer is sampled, and then for how long the tokenizer has been training."""

    def __init__(self, config: TokenizerJobConfig, work: Workspace) -> None:
        self._config, self._directory = config, work.sample.path
        self._began: float | None = None

    def __call__(self) -> str:
        """Looks, and says it in a line."""
        present = files.list_files(self._directory)
        if TRAINING in present:
            self._began = self._began or time.monotonic()
            return f"training for {(time.monotonic() - self._began) // 30 * 30:.0f} s"  # by half minutes: a new line for each is enough
        read = len({name.rsplit("-", 2)[0] for name in present if name.endswith(".sample")})
        return f"sampled text from {read:,} of {plural(self._blocks, 'block')}"

    @functools.cached_property
    def _blocks(self) -> int:
        size = self._config.execution.block_bytes
        return sum(1 for index, source in enumerate(self._config.sources) for _ in list_blocks(source, index, size))


def build(root: beam.Pipeline, config: TokenizerJobConfig, work: Workspace, inputs: Mapping[str, Any]) -> beam.PCollection[str]:
    """Raw text in the sources of a config to a model and its report in its output; the fingerprint of the vocabulary comes out."""
    sizes = [inputs[source.name]["bytes"] for source in config.sources]
    limits = sample_plan.guess_limits(config.budget, config.held_out_bytes, config.shares, config.max_document_bytes, sizes)
    blocks = root | ListBlocks(config, inputs)  # Block: byte ranges of files
    rules = [load_rules(config.filters_of(index)) for index in range(len(config.sources))]
    sampled = blocks | SampleDocuments(config, rules, work, limits, inputs)  # Sampled: plan, paths and totals
    if config.kind == "characters":
        counts = blocks | CountBlocks(config, rules) if config.budget is None else sampled | CountSample(config, work)  # RecordBatch
        trained = counts | FitCharacters(config, work)  # Trained: the model
    else:
        trained = sampled | TrainSentencePiece(config, work)  # Trained: the model
    return (sampled, trained) | WriteTokenizer(config, work, inputs)  # last: the report means "complete"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; what it does not know goes to Beam."""
    parser.add_argument("config", help="YAML file with the settings of the tokenizer")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="override a setting, e.g. options.vocab_size=16000"
    )
    parser.add_argument("--input", nargs="+", metavar="PATH", help="files, globs or directories in place of the config's only source")
    parser.add_argument("--output", metavar="DIR", help="directory of the model and its report in place of the config's")
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier run left in the output directory")
    parser.add_argument("--no-wait", action="store_true", help="return once a remote runner has taken the job (for templates)")


def run(arguments: argparse.Namespace, beam_arguments: Sequence[str] = ()) -> dict[str, Any] | None:
    """Trains a tokenizer, or finds it complete.

    Returns:
      its report; None if the job was handed to a remote runner without waiting.

    Raises:
      TokenreelError: with a message that stands alone.
    """
    local.quiet_logging()
    config = reading.read(TokenizerJobConfig, arguments.config, arguments.set, input=arguments.input, output=arguments.output)
    config = dataclasses.replace(config, output=links.follow(config.output, "output", local.note))
    check = {"sentencepiece": sentencepiece_training.check_options, "characters": character_fitting.read_options}[config.kind]
    check(config.options)  # before a worker starts
    parsed = local.options(beam_arguments, releases_gil=True)
    config = local.absolute(config, parsed)
    leaves = local.leaves(parsed, no_wait=arguments.no_wait)
    inputs, listed = survey(config, local.note)
    local.check(parsed, config, listed)
    local.check_endpoint(parsed)
    local.check_threads(local.threads(parsed))
    with locking.lock(config.output, lost=local.stop) as hold:
        finished = tokenizer_output.prepare(config, inputs, overwrite=arguments.overwrite, before_changes=hold.claim)
        if finished is not None:
            print(f"tokenreel: {plain(config.output)} is complete already", file=sys.stderr)
            local.answer_launcher(parsed)
            return finished
        work = Workspace.of(config, tokenizer_output.identity(config, inputs), hold.claim())
        remembered_inputs.write_listing(config, work.build, listed)
        count, size = (sum(source[name] for source in inputs.values()) for name in ("files", "bytes"))
        print(
            f"tokenreel: training {plain(config.output)} on {plural(count, 'file')}, {size / 1e6:,.1f} MB, {local.describe(parsed)}",
            file=sys.stderr,
        )
        graph = functools.partial(build, config=config, work=work, inputs=inputs)
        rest = functools.partial(tokenizer_output.remove_stage, config)
        progress = local.show_progress(TrainingProgress(config, work))
        if local.run_job(graph, [(hold, rest)], parsed, local.guard(), progress, leaves=leaves) is None:
            return None
        tokenizer_output.remove_stage(config)
    return tokenizer_output.read_report(config.output)


def summary(report: Mapping[str, Any]) -> str:
    """What the command prints at its end."""
    return tokenizer_output.table(report)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; exit code 0 when the tokenizer is complete, 2 for a mistake in settings or input, 1 for a failure."""
    from pipelines import cli

    return cli.main(["train-tokenizer", *(sys.argv[1:] if argv is None else argv)], ends=argv is None)


if __name__ == "__main__":
    sys.exit(main())

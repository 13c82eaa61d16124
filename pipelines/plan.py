"""What a build will take and give, before anything is spent: `tokenreel plan CONFIG`."""

import argparse
import dataclasses
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence

from pipelines import build, frozen_plan, local
from tokenreel.config import reading
from tokenreel.config.build import JobConfig
from tokenreel.curation.filters import load_rules
from tokenreel.curation.inputs import survey
from tokenreel.errors import ConfigError
from tokenreel.planning import corpus_sample
from tokenreel.planning.corpus_sample import Estimate, SourceSample
from tokenreel.planning.forecast import Forecast, Prices, forecast, to_json
from tokenreel.planning.recipe import make_recipe
from tokenreel.sources import losses
from tokenreel.storage import files
from tokenreel.vocabularies.loading import open_vocabulary
from tokenreel.vocabularies.sampled import sampled
from tokenreel.wording import amount, plain, plural

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    build.add_settings(parser)
    parser.add_argument("--sample-mb", type=float, default=64.0, metavar="MB", help="text to tokenize of all sources (64)")
    parser.add_argument("--total", type=_size, metavar="SIZE", help="plan a corpus of this size, such as 100TB, of text like this one")
    parser.add_argument("--file-size", type=_size, metavar="SIZE", help="of the files of that corpus; as large as they are")
    parser.add_argument("--prices", metavar="FILE", help="YAML file with prices and speeds of workers, in place of those that are known")
    parser.add_argument("--workers", type=int, metavar="N", help="workers of the job, in place of the number in the prices")
    parser.add_argument("--freeze", type=files.expand, metavar="DIR", help="write the config with its files listed, for an output in DIR")
    parser.add_argument("--date", help="with --freeze: of the data, such as 2026-11-29; the files that were listed for it first stay")
    parser.add_argument("--json", action="store_true", help="print all numbers as JSON")


def _size(text: str) -> int:
    unit = _UNITS.get(text[-2:].upper())
    try:
        size = float(text[:-2] if unit else text) * (unit or 1)
    except ValueError:
        size = 0.0
    if not 1 <= size <= 10**18:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 500GB or 100TB")
    return int(size)


def run(arguments: argparse.Namespace) -> int:
    """Prints the plan.

    Returns:
      0; 1 where the build would be refused.

    Raises:
      TokenreelError: as of a build whose text or settings are wrong.
    """
    local.quiet_logging()
    job = reading.read_build(arguments.config, arguments.set, input=arguments.input, output=arguments.output)
    if not isinstance(job, JobConfig):
        raise ConfigError(
            f"{arguments.config}: plan draws a sample of text, and this config reads a task, whose examples only its steps make. Build "
            "a small split of it, with --set splits=[NAME] and another --output."
        )
    if not arguments.sample_mb > 0:
        raise ConfigError(f"--sample-mb must be positive, got {arguments.sample_mb:g}")
    prices, frozen = _prices(arguments), None
    if (arguments.freeze is None) != (arguments.date is None):
        raise ConfigError("--freeze and --date go together: the directory of dated outputs, and the date")
    if arguments.freeze is not None:
        job, frozen = frozen_plan.freeze(job, arguments.freeze, arguments.date)
    model = open_vocabulary(job.vocabulary.kind, job.vocabulary.path, job.vocabulary.options)
    recipe, vocabulary = make_recipe(job, model), sampled(model, job.vocabulary.sampling, seed=job.seed)
    _, listed = survey(job, local.note)
    most = int(arguments.sample_mb * 1e6) // len(job.sources)
    with tempfile.TemporaryDirectory(prefix="tokenreel-plan-") as directory:
        samples = [
            corpus_sample.sample(job, source, found, vocabulary, load_rules(job.filters_of(source)), directory, most)
            for source, found in enumerate(listed)
        ]
        total = sum(sample.bytes for sample in samples)
        factor = 1.0 if arguments.total is None else arguments.total / max(1, total)
        planned = forecast(recipe, samples, prices, factor=factor, file_bytes=arguments.file_size)
    planned = dataclasses.replace(planned, refused=[*planned.refused, *_room(job, planned)])
    if arguments.json:
        told = {} if frozen is None else {"config": frozen, "output": job.output}
        print(json.dumps({**to_json(job, samples, planned), **told}, indent=1))
    else:
        print(plain("\n".join(_report(job, samples, planned, prices, factor))))
        if frozen is not None:
            print(plain(f"frozen: tokenreel build {frozen}, to {job.output}"))
    if planned.refused:
        print(plain("\n".join(f"tokenreel: would be refused: {line}" for line in planned.refused)), file=sys.stderr)
    return int(bool(planned.refused))


def _prices(arguments: argparse.Namespace) -> Prices:
    import yaml

    told = {} if arguments.workers is None else {"workers": arguments.workers}
    if arguments.prices is None:
        return Prices(**told)
    try:
        found = yaml.safe_load(files.read_bytes(files.expand(arguments.prices)))
    except (FileNotFoundError, yaml.YAMLError) as error:
        raise ConfigError(f"--prices {arguments.prices}: {'no such file' if isinstance(error, OSError) else 'no YAML'}") from error
    known = {field.name for field in dataclasses.fields(Prices)}
    if not isinstance(found, dict) or not found.keys() <= known or not all(type(value) in (int, float) for value in found.values()):
        raise ConfigError(f"--prices {arguments.prices}: expected numbers by name, of {', '.join(sorted(known))}")
    return Prices(**{**found, **told})


def _room(job: JobConfig, planned: Forecast) -> Iterator[str]:
    """Says where a local disk has no room."""
    folder = job.output
    if files.is_remote(folder):
        return
    while not os.path.exists(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder) or "."
    needed, free = planned.merges.disk_bytes + planned.output_bytes, shutil.disk_usage(folder).free
    if needed > free:
        yield f"{job.output}: stage files and shards need {amount(needed)}, the disk has {amount(free)} free"


def _report(job: JobConfig, samples: Sequence[SourceSample], planned: Forecast, prices: Prices, factor: float) -> Iterator[str]:
    """Writes the plan for people."""
    if factor != 1:
        yield f"a corpus {factor:,.3g} times as large as this one"
    for source, sample in zip(job.sources, samples, strict=True):
        read = "read whole" if sample.whole else f"{amount(sample.read_bytes)} of them read in {plural(len(sample.given), 'draw')}"
        yield f"{source.name}: {plural(sample.files, 'file')} of {source.format}, {amount(sample.bytes * factor)}, {read}"
        taken = f", taken {source.epochs:g} times" if source.epochs != 1 else ""
        yield f"  text       {_about(sample.estimate(0).times(factor), ' bytes')}{taken}"
        for what, counts in (("filtered", sample.filtered), ("unreadable", sample.dead_letters)):
            if counts:
                yield f"  {what:<10} {losses.counts(counts)}, of {plural(sample.documents + sample.dead_letters.total(), 'document')} read"
        yield from (f"             {place}" for place in sample.first)
    for name, split in planned.splits.items():
        yield f"{name}: {plural(split.shards, 'shard')}, {amount(split.bytes)}"
        for what in ("documents", "tokens", "examples"):
            yield f"  {what:<10} {_about(getattr(split, what))}"
    if job.duplicates.remove != "none":
        yield "duplicates are not looked for: what they take away is not in these numbers"
    merges = planned.merges
    levels = str(merges) if merges.levels else f"no merge level; up to {plural(merges.reads, 'read')} of {amount(merges.mean)} on average"
    yield f"stage files: {merges.stage_files:,}, {levels}"
    yield f"disk: {amount(merges.disk_bytes)} until the build ends, {amount(planned.output_bytes)} for shards"
    yield f"memory: {amount(merges.worker_bytes)} a worker process"
    yield f"time: {_hours(planned.cpu_hours)} of one processor like those here"
    paid = ", ".join(f"{what} {dollars:,.2f}" for what, dollars in planned.dollars.items())
    workers = f"{plural(prices.workers, 'worker')} of {plural(prices.vcpus, 'processor')}"
    yield f"on Dataflow: {_hours(planned.hours)} with {workers}, {sum(planned.dollars.values()):,.2f} dollars ({paid})"


def _hours(hours: float) -> str:
    return f"{hours:,.1f} hours" if hours >= 1 else f"{hours * 60:,.1f} minutes"


def _about(estimate: Estimate, unit: str = "") -> str:
    if estimate.low == estimate.high:
        return f"{estimate.value:,.0f}{unit}"
    return f"{estimate.value:,.0f}{unit} ({estimate.low:,.0f} to {estimate.high:,.0f}, 99 times in 100)"

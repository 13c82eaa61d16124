"""Datasets to features: `tokenreel extract-features CONFIG`, or `python -m pipelines.extract_features CONFIG`."""

import argparse
import dataclasses
import functools
import sys
from collections.abc import Sequence
from typing import Any

import apache_beam as beam

from pipelines import local
from pipelines.pickled_tasks import pickled
from tokenreel.assembly import output
from tokenreel.config import reading
from tokenreel.config.features import FeatureJobConfig
from tokenreel.errors import ManifestError
from tokenreel.extracting import feature_output
from tokenreel.extracting.feature_job import FeatureJob
from tokenreel.format import features, pointer
from tokenreel.format import manifest as manifests
from tokenreel.format.features import FeatureManifest
from tokenreel.model_features import keras_models
from tokenreel.storage import files, links, locking
from tokenreel.storage.stored_value import StoredValue
from tokenreel.wording import plain, plural
from transforms.extract_features import ExtractFeatures


class FeatureProgress:
    """Says how many shards of features are written."""

    def __init__(self, job: FeatureJob) -> None:
        self._directory = job.work.shards.path
        self._shards = sum(-(-examples // job.shard_examples) for _, examples in job.splits)

    def __call__(self) -> str:
        """Looks, and says it in a line."""
        written = sum(name.endswith(".json") for name in files.list_files(self._directory))
        return f"{written:,} of {plural(self._shards, 'shard')} written"


def build(root: beam.Pipeline, job: FeatureJob) -> beam.PCollection[str]:
    """A dataset to features, whose fingerprint comes out."""
    tables = job.work.tables
    return root | ExtractFeatures(StoredValue.store(tables.ready(), "job", job), tables)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; what it does not know goes to Beam."""
    parser.add_argument("config", nargs="?", help="YAML file with the settings; without it the options say all")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="override a setting, e.g. logits.top_k=32")
    parser.add_argument("--dataset", metavar="DIR", help="dataset, or a pointer to one, in place of the config's")
    parser.add_argument("--model", metavar="PATH", help="preset directory of keras-hub or .keras file in place of the config's model")
    parser.add_argument("--output", metavar="DIR", help="directory of the features in place of the config's")
    parser.add_argument("--plan", action="store_true", help="say how large the features will be, and end")
    parser.add_argument("--overwrite", action="store_true", help="replace what an extraction left in the output directory")
    parser.add_argument("--recheck", action="store_true", help="read all files of finished features before they count as complete")
    parser.add_argument("--no-wait", action="store_true", help="return once a remote runner has taken the job (for templates)")


def run(arguments: argparse.Namespace, beam_arguments: Sequence[str] = ()) -> FeatureManifest | str | None:
    """Extracts features, or finds them complete.

    Returns:
      their manifest; with `--plan` how large they will be; None if the job was handed to a remote runner without waiting.

    Raises:
      TokenreelError: with a message that stands alone.
    """
    local.quiet_logging()
    config = _read(arguments)
    parsed = local.options(beam_arguments, releases_gil=False)
    leaves = local.leaves(parsed, no_wait=arguments.no_wait)
    local.check_paths(parsed, [("output", config.output), ("dataset", config.dataset), *_model_paths(config)])
    local.check_endpoint(parsed)
    job = FeatureJob.prepare(config, manifests.read(config.dataset), _pickled(config))
    finished = None if arguments.plan else _finished(job)  # whose features need no look at the model
    job = job.look() if finished is None else dataclasses.replace(job, specs=finished.specs)
    told = feature_output.estimate(job)
    if arguments.plan:
        return told
    with locking.lock(config.output, lost=local.stop) as hold:
        found: FeatureManifest | None = output.make_ready(
            feature_output.wanted(job), overwrite=arguments.overwrite, recheck=arguments.recheck, note=local.note, before_changes=hold.claim
        )
        if found is None:
            print(f"tokenreel: {plain(told)}", file=sys.stderr)
            print(f"tokenreel: extracting to {plain(config.output)}, {local.describe(parsed)}", file=sys.stderr)
            job = dataclasses.replace(job, claim=hold.claim())
            graph, rest = functools.partial(build, job=job), functools.partial(output.remove_stage, config.output)
            progress = local.show_progress(FeatureProgress(job), 30.0 if files.is_remote(config.output) else 5.0)
            if local.run_job(graph, [(hold, rest)], parsed, local.guard(), progress, leaves=leaves) is None:
                return None
            found = features.read(config.output)
        else:
            print(f"tokenreel: {plain(config.output)} is complete already", file=sys.stderr)
            local.answer_launcher(parsed)
        output.remove_stage(config.output)
    return found


def _read(arguments: argparse.Namespace) -> FeatureJobConfig:
    """Reads the settings, and resolves what they name.

    Raises:
      ConfigError: they are wrong.
    """
    replaced: dict[str, Any] = {"dataset": arguments.dataset, "output": arguments.output}
    replaced["model"] = None if arguments.model is None else {"path": arguments.model}
    if arguments.config is None:
        config = reading.load_as(FeatureJobConfig, "{}", arguments.set, name="extract-features", **replaced)
    else:
        config = reading.read(FeatureJobConfig, arguments.config, arguments.set, **replaced)
    model = config.model
    if model.path is not None:
        model = dataclasses.replace(model, path=files.absolute(model.path))
    return dataclasses.replace(
        config,
        output=files.absolute(links.follow(config.output, "output", local.note)),
        dataset=files.absolute(pointer.follow(config.dataset)),
        model=model,
    )


def _model_paths(config: FeatureJobConfig) -> list[tuple[str, str]]:
    return [("model.path", config.model.path)] if config.model.path is not None else []


def _pickled(config: FeatureJobConfig) -> bytes:
    """Gives the function that makes the model, with all of its module, which workers need not find."""
    build = config.model.build
    if build is None:
        return b""
    keras_models.prepare(config.model.backend, config.model.threads)  # its module may import Keras
    return pickled(keras_models.find_function(build), [build.partition(":")[0]])


def _finished(job: FeatureJob) -> FeatureManifest | None:
    """Finds features that are this job's by all that their manifest says."""
    try:
        found = features.find(job.config.output)
    except ManifestError:
        return None
    return found if found is not None and not feature_output.differences(job, found) else None


def summary(found: FeatureManifest | str) -> str:
    """What the command prints at its end."""
    if isinstance(found, str):
        return found
    lines = []
    for name, split in found.splits.items():
        size = sum(shard.data.bytes for shard in split.shards)
        predicted = split.statistics.get("predicted_tokens")
        told = f", {predicted:,} predicted tokens" if predicted is not None else ""
        lines.append(f"{name}: {plural(split.examples, 'example')} in {plural(len(split.shards), 'shard')}, {size / 1e6:,.1f} MB{told}")
    return "\n".join([*lines, f"features: {', '.join(found.specs)}", f"fingerprint: {found.fingerprint}"])


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; exit code 0 when the features are complete, 2 for a mistake in settings or input, 1 for a failure."""
    from pipelines import cli

    return cli.main(["extract-features", *(sys.argv[1:] if argv is None else argv)], ends=argv is None)


if __name__ == "__main__":
    sys.exit(main())

"""The output directory of `tokenreel train-tokenizer`: a model, and a report that means "complete".

Tested in tests/pipelines/test_train_tokenizer.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tokenreel import keys
from tokenreel.config.tokenizer import TokenizerJobConfig
from tokenreel.config.workspace import SAMPLES, Workspace, is_of_build
from tokenreel.errors import BuildError
from tokenreel.format import naming
from tokenreel.format.manifest import to_json
from tokenreel.storage import files, locking, placing, pooled
from tokenreel.tokenizer_training.sample_files import Sample
from tokenreel.tokenizer_training.sample_plan import Totals
from tokenreel.tokenizer_training.sentencepiece_training import Coverage, measure_coverage
from tokenreel.version import __version__
from tokenreel.vocabularies.base import Vocabulary
from tokenreel.vocabularies.loading import load_vocabulary
from tokenreel.wording import plural

REPORT = "tokenizer_report.json"
VERSION = "tokenizer-sample-1"  # changes where the same text and settings would give another sample
_MODELS = ("tokenizer.model", "tokenizer.json")


def identity(config: TokenizerJobConfig, inputs: Mapping[str, Any]) -> str:
    """Hashes everything that decides the model, except the versions of libraries."""
    return keys.digest(VERSION, keys.VERSION, config.identity(inputs))


def prepare(
    config: TokenizerJobConfig, inputs: Mapping[str, Any], *, overwrite: bool, before_changes: Callable[[], object] = bool
) -> dict[str, Any] | None:
    """Makes the output directory ready, or finds the tokenizer there already. To be called by who holds the lock.

    Args:
      config: settings of the job.
      inputs: the files that the listing of the sources found.
      overwrite: replaces another tokenizer.
      before_changes: called when it is known that the directory is to be written to.

    Returns:
      The report, if this very tokenizer is already complete there; None if it has to be trained.

    Raises:
      BuildError: the directory holds another tokenizer and `overwrite` is not set, or files that the command does not write.
    """
    present = [name for name in files.list_files(config.output) if name != locking.LOCK]
    foreign = [name for name in present if not _is_ours(name)]
    if foreign:
        raise BuildError(
            f"{config.output}: holds {plural(len(foreign), 'file')} that train-tokenizer does not write, such as {foreign[0]}. Choose an "
            "empty or new directory."
        )
    if REPORT in present and not overwrite:
        found = read_report(config.output)
        if found["identity"] == identity(config, inputs) and found["model"]["file"] in present:
            return found
        raise BuildError(
            f"{config.output}: holds a tokenizer of other settings or text. Add --overwrite to replace it, or choose another --output."
        )
    before_changes()
    files.remove(files.join(config.output, REPORT))  # first: from then on nothing is complete
    pooled.remove(files.join(config.output, name) for name in present)
    remove_stage(config)
    return None


def remove_stage(config: TokenizerJobConfig) -> None:
    """Removes what only a running job needs: the sampled text above all."""
    pooled.remove_tree(Workspace.of(config, "").samples)
    pooled.remove_tree(files.join(config.output, naming.STAGE))


def _is_ours(name: str) -> bool:
    known = files.TEMPORARY.sub("", name) in (REPORT, *_MODELS, naming.DEAD_LETTERS, naming.LISTING)
    return known or name.startswith(f"{naming.STAGE}/{SAMPLES}/") or is_of_build(name)


def read_report(directory: str) -> dict[str, Any]:
    """Reads the report of a tokenizer's output directory.

    Raises:
      BuildError: the report is damaged, or is none of this command's.
    """
    path = files.join(directory, REPORT)
    try:
        report = json.loads(files.read_bytes(path))
        if not isinstance(report, dict) or "identity" not in report or "file" not in report["model"]:
            raise ValueError("fields are missing")
    except (ValueError, KeyError, TypeError) as error:
        raise BuildError(f"{path}: not a report of train-tokenizer ({error}). Add --overwrite to train again.") from error
    return report


def finish(
    config: TokenizerJobConfig,
    work: Workspace,
    inputs: Mapping[str, Any],
    model: bytes,
    trained: Mapping[str, Any],
    sample: Sample,
    totals: Totals,
) -> dict[str, Any]:
    """Writes the model, measures it, and moves it to its place, and the report last.

    Args:
      config: settings of the job.
      work: where it writes.
      inputs: the files that the listing of the sources found.
      model: content of the model file.
      trained: what the trainer reports about the training.
      sample: the documents that the model was trained on, and others to measure it on.
      totals: counts of all documents and bytes in the sources, and of those left out.

    Returns:
      The report.

    Raises:
      LostOutputError: another job has the output.
    """
    vocabulary = load_vocabulary(config.kind, files.join(config.output, config.model_file), data=model)
    coverages = [measure_coverage(vocabulary, sample.held_out(i)) for i in range(len(config.sources))]
    sources = _describe_sources(config, sample, totals, coverages)
    report = {
        "format": "tokenreel-tokenizer-report-1",
        "fingerprint": vocabulary.fingerprint,
        "identity": identity(config, inputs),
        "model": _describe_model(config, vocabulary, len(model)),
        "settings": config.semantics(),
        "inputs": dict(inputs),
        "sample": {
            "of": "all text" if config.budget is None else "documents",
            "documents": sum(source["sample"]["documents"] for source in sources.values()),
            "bytes": sum(source["sample"]["bytes"] for source in sources.values()),
            "version": VERSION,
        },
        "training": dict(trained),
        "coverage": sum(coverages, Coverage()).to_json(),
        "sources": sources,
        "tokenreel_version": __version__,
    }
    for name, content in ((config.model_file, model), (REPORT, to_json(report))):  # one after the other: the report means "complete"
        placing.place(work.dataset, [work.write(name, content, keys.digest(content))])
    return report


def _describe_model(config: TokenizerJobConfig, vocabulary: Vocabulary, size: int) -> dict[str, Any]:
    return {
        "file": config.model_file,
        "kind": config.kind,
        "bytes": size,
        "vocab_size": vocabulary.vocab_size,
        "special_ids": {name: getattr(vocabulary, f"{name}_id") for name in ("pad", "bos", "eos", "unk")},
    }


def _describe_sources(
    config: TokenizerJobConfig, sample: Sample, totals: Totals, coverages: Sequence[Coverage]
) -> dict[str, dict[str, Any]]:
    """Says of each source, by name, what text it has, what of it was sampled, and how well the tokenizer covers it.

    Without a budget all text was taken, whatever `sample` holds: then the totals are the sample.
    """
    everything = config.budget is None
    documents = totals.documents.tolist() if everything else sample.documents
    sizes = totals.text_bytes.tolist() if everything else sample.bytes
    sources = {}
    for i, (source, coverage) in enumerate(zip(config.sources, coverages, strict=True)):
        sources[source.name] = {
            "text": {
                "documents": int(totals.documents[i]),
                "bytes": int(totals.text_bytes[i]),
                "documents_over_max_document_bytes": int(totals.cut_documents[i]),
                "dead_letters": dict(sorted(totals.faults[i].items())),
                "left_out": dict(sorted(totals.left_out[i].items())),
            },
            "sample": {"documents": documents[i], "bytes": int(sizes[i]), "share": sizes[i] / max(sum(sizes), 1)},
            "coverage": {"measured_on": sample.measured_on[i], **coverage.to_json()},
        }
    return sources


def table(report: Mapping[str, Any]) -> str:
    """Lays the report out as lines for a terminal: a row for each source, then what stands out."""
    model, sample = report["model"], report["sample"]
    rows = [
        ["source", "documents", "sampled", "share", "measured on", "characters", "unknown", "byte tokens", "tokens/byte", "bytes/token"]
    ]
    for name, source in report["sources"].items():
        rows.append(_row(name, source["sample"], source["coverage"]))
    if len(report["sources"]) > 1:
        rows.append(_row("all", {**sample, "share": 1.0}, {"measured_on": "", **report["coverage"]}))
    notes = [f"{name.replace('_', ' ')} {count:,}" for name, count in report["training"].items() if isinstance(count, int) and count]
    dead = sum(sum(source["text"]["dead_letters"].values()) for source in report["sources"].values())
    notes += [f"documents that could not be read {dead:,}"] if dead else []
    left_out = sum(sum(source["text"]["left_out"].values()) for source in report["sources"].values())
    notes += [f"documents left out {left_out:,}"] if left_out else []
    missing = ", ".join(f"{character!r} {count:,}" for character, count in report["coverage"]["missing_characters"][:8])
    return "\n".join(
        [
            f"{model['file']}: {model['vocab_size']:,} pieces, {model['bytes'] / 1e3:,.0f} kB, from {sample['documents']:,} documents, "
            f"{sample['bytes'] / 1e6:,.1f} MB",
            *_aligned(rows),
            f"training: {', '.join(notes)}",
            *([f"characters without a token: {missing}"] if missing else []),
            f"fingerprint: {report['fingerprint']}",
        ]
    )


def _row(name: str, sample: Mapping[str, Any], coverage: Mapping[str, Any]) -> list[str]:
    measured = [f"{coverage[key]:.3%}" for key in ("character_coverage", "unknown_rate", "byte_fallback_rate")]
    lengths = [f"{coverage[key]:.3f}" for key in ("tokens_per_byte", "bytes_per_token")]
    place = coverage["measured_on"].replace("_", " ")
    return [name, f"{sample['documents']:,}", f"{sample['bytes'] / 1e6:,.2f} MB", f"{sample['share']:.1%}", place, *measured, *lengths]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]) for row in rows
    ]

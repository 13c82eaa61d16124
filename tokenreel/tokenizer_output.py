"""The output directory of `tokenreel train-tokenizer`: a model, and a report that means "complete"."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import tokenreel
from tokenreel import files, keys, naming
from tokenreel.errors import BuildError
from tokenreel.sampling import Sample, Totals
from tokenreel.tokenizer_config import TokenizerJobConfig
from tokenreel.tokenizer_training import Coverage, measure_coverage
from tokenreel.vocabularies import load_vocabulary

REPORT = "tokenizer_report.json"
VERSION = "tokenizer-sample-1"  # changes where the same text and settings would give another sample
_MODELS = ("tokenizer.model", "tokenizer.json")


def sample_directory(config: TokenizerJobConfig) -> str:
    """Where the sampled text lies while the job runs."""
    return files.join(config.execution.stage or files.join(config.output, naming.STAGE), "tokenizer_sample")


def identity(config: TokenizerJobConfig, inputs: Mapping[str, Any]) -> str:
    """The digest of everything that decides the model, the versions of libraries aside."""
    return keys.digest(VERSION, keys.VERSION, config.identity(inputs))


def prepare(config: TokenizerJobConfig, inputs: Mapping[str, Any], *, overwrite: bool) -> dict[str, Any] | None:
    """Makes the output directory ready, or finds the tokenizer there already.

    Returns:
      the report of this very tokenizer, if it is complete.

    Raises:
      BuildError: the directory holds another tokenizer and `overwrite` is not set, or files that the command does not write.
    """
    present = files.list_files(config.output)
    foreign = [name for name in present if not _is_ours(name)]
    if foreign:
        raise BuildError(
            f"{config.output}: holds {len(foreign):,} files that train-tokenizer does not write, such as {foreign[0]}. Choose an empty or "
            "new directory."
        )
    if REPORT in present and not overwrite:
        found = read_report(config.output)
        if found["identity"] == identity(config, inputs) and found["model"]["file"] in present:
            return found
        raise BuildError(
            f"{config.output}: holds a tokenizer of other settings or text. Add --overwrite to replace it, or choose another --output."
        )
    for name in sorted(present, key=lambda name: name != REPORT):  # the report first: from then on nothing is complete
        files.remove(files.join(config.output, name))
    remove_sample(config)
    return None


def remove_sample(config: TokenizerJobConfig) -> None:
    """Removes the text that only a running job needs."""
    files.remove_tree(sample_directory(config))
    if not config.execution.stage:
        files.remove_tree(files.join(config.output, naming.STAGE))


def _is_ours(name: str) -> bool:
    return naming.TEMPORARY.sub("", name) in (REPORT, *_MODELS) or name.split("/")[0] == naming.STAGE


def read_report(directory: str) -> dict[str, Any]:
    """Reads the report.

    Raises:
      BuildError: it is damaged.
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
    inputs: Mapping[str, Any],
    model: bytes,
    trained: Mapping[str, Any],
    sample: Sample,
    totals: Totals,
) -> dict[str, Any]:
    """Writes the model, measures it, and writes the report last.

    Args:
      config: of the job.
      inputs: what the listing found.
      model: the file.
      trained: what the trainer tells.
      sample: the documents it was trained on, and others to measure on.
      totals: of the whole text.

    Returns:
      the report.
    """
    path = files.join(config.output, config.model_file)
    files.write_bytes(path, model)
    vocabulary = load_vocabulary(config.kind, path)
    sources: dict[str, Any] = {}
    overall = Coverage()
    everything = config.budget is None
    sampled = totals.text_bytes.tolist() if everything else sample.bytes
    for i, source in enumerate(config.sources):
        coverage = measure_coverage(vocabulary, sample.held_out(i))
        overall += coverage
        sources[source.name] = {
            "text": {
                "documents": int(totals.documents[i]),
                "bytes": int(totals.text_bytes[i]),
                "documents_over_max_document_bytes": int(totals.cut_documents[i]),
                "dead_letters": dict(sorted(totals.faults[i].items())),
                "left_out": dict(sorted(totals.left_out[i].items())),
            },
            "sample": {
                "documents": int(totals.documents[i]) if everything else sample.documents[i],
                "bytes": int(sampled[i]),
                "share": sampled[i] / max(sum(sampled), 1),
            },
            "coverage": {"measured_on": sample.measured_on[i], **coverage.to_json()},
        }
    report = {
        "format": "tokenreel-tokenizer-report-1",
        "fingerprint": vocabulary.fingerprint,
        "identity": identity(config, inputs),
        "model": {
            "file": config.model_file,
            "kind": config.kind,
            "bytes": len(model),
            "vocab_size": vocabulary.vocab_size,
            "special_ids": {name: getattr(vocabulary, f"{name}_id") for name in ("pad", "bos", "eos", "unk")},
        },
        "settings": config.semantics(),
        "inputs": dict(inputs),
        "sample": {
            "of": "all text" if everything else "documents",
            "documents": sum(source["sample"]["documents"] for source in sources.values()),
            "bytes": int(sum(sampled)),
            "version": VERSION,
        },
        "training": dict(trained),
        "coverage": overall.to_json(),
        "sources": sources,
        "tokenreel_version": tokenreel.__version__,
    }
    content = json.dumps(report, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    files.write_bytes(files.join(config.output, REPORT), content.encode())
    return report


def table(report: Mapping[str, Any]) -> str:
    """The report as a person reads it in a terminal."""
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

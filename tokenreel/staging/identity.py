"""Names a stage file by everything that decides its bytes."""

from __future__ import annotations

import dataclasses
from typing import Any

from tokenreel import keys
from tokenreel.config.build import JobConfig
from tokenreel.config.corpus import FilterConfig, SourceConfig
from tokenreel.curation.filters import Rules
from tokenreel.sources.inputs import Block
from tokenreel.storage import files

VERSION = "stage-1"


def fingerprint(
    block: Block,
    source: SourceConfig,
    vocabulary: str,
    rules: Rules,
    sentences: str | None,
    block_bytes: int,
    *,
    hashed: bool = False,
    with_offsets: bool = False,
) -> str:
    """Names the stage files of a block: what they are made from and how."""
    reading = (source.name, source.format, source.text_field, source.id_field or "", source.order_field or "", *source.metadata_fields)
    if source.format in ("csv", "tsv"):
        reading += ("columns", *source.columns, "delimiter", source.delimiter or "", str(source.embedded_newlines))
    return keys.digest(
        VERSION,
        keys.VERSION,
        block.fingerprint,
        vocabulary,
        *reading,
        source.max_document_bytes,
        rules.fingerprint,
        sentences or "",
        block_bytes,
        int(hashed),
        int(with_offsets),
    )


def name_of(config: JobConfig, block: Block, vocabulary: str, rules: Rules) -> str:
    """Names the stage files of a block in a build: the `fingerprint` of all that they depend on.

    Args:
      config: of the build.
      block: of a source.
      vocabulary: its fingerprint.
      rules: of the source.
    """
    return fingerprint(
        block,
        config.sources[block.source],
        vocabulary,
        rules,
        config.packing.sentences,
        config.execution.block_bytes,
        hashed=config.duplicates.remove == "documents",
        with_offsets=config.vocabulary.offsets,
    )


def describe(config: JobConfig, source: int, vocabulary: str, rules: Rules) -> dict[str, Any]:
    """What a stage file says of how it was made, for people: nothing reads it back into a build.

    Only what its name depends on, so that whoever makes the file writes the same bytes; no paths.
    """
    filters = dataclasses.asdict(rules.config)
    plain = dataclasses.asdict(FilterConfig())
    return {
        "block_bytes": config.execution.block_bytes,
        "filters": {name: value for name, value in filters.items() if value != plain[name] and name != "bad_words"},
        "filters_fingerprint": rules.fingerprint,
        "format": config.sources[source].format,
        "sentences": config.packing.sentences,
        "source": config.sources[source].name,
        "vocabulary": vocabulary,
        "vocabulary_kind": config.vocabulary.kind,
    }


def path_of(directory: str, block_fingerprint: str, part: int) -> str:
    """Where a stage file lies."""
    return files.join(directory, f"{block_fingerprint}-{part:05d}.stage")

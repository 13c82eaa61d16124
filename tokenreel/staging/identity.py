"""Names a stage file by everything that decides its bytes."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from tokenreel import keys
from tokenreel.config.build import JobConfig
from tokenreel.config.corpus import FilterConfig, SourceConfig
from tokenreel.curation.filters import Rules
from tokenreel.sources.inputs import Block
from tokenreel.storage import files

VERSION = "stage-2"  # changes where the same input and settings would give other bytes
_ROWS = "rows-2"  # the same for rows of csv and tsv alone
_NESTED = "nested-1"  # for keys of JSON lines with a dot, inside of which nobody looked before


def left_out(name: str) -> str:
    """Names the stage files of a block that is left out, by the name that it has otherwise."""
    return keys.digest(name, "left out")


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
    """Names the stage files of a block by what they are made from, and how.

    A setting that is added later must leave the name as it is where it has its default: people's caches are found by it.

    Args:
      block: the files, and what is left out of them.
      source: the settings of the block's source.
      vocabulary: fingerprint of the vocabulary.
      rules: the filters of the source.
      sentences: rule by which documents are cut into sentences, or None.
      block_bytes: size of a block, which decides where its parts end.
      hashed: whether texts are hashed.
      with_offsets: whether the places of tokens in the text are stored.
    """
    reading = (source.name, source.format, source.text_field, source.id_field or "", source.order_field or "", *source.metadata_fields)
    if source.format in ("csv", "tsv"):
        reading += ("columns", *source.columns, "delimiter", source.delimiter or "", str(source.embedded_newlines))
        reading += (_ROWS, source.quoting, source.escape or "", str(source.escape_unquoted))
    if source.plain_text_field is None:
        reading += ("text", source.text or "", "joiner", *([] if source.joiner is None else [source.joiner]), source.messages_field or "")
    if source.format == "jsonl" and any("." in name for name in (*source.text_fields, *reading[3:])):
        reading += (_NESTED,)
    if source.text_encoding != "utf-8":
        reading += ("encoding", source.text_encoding)
    if source.records is not None:
        reading += ("records", source.records)
    if source.label_fields or source.entity_fields:  # documents of other classes are dead letters
        reading += ("labels", json.dumps([source.label_fields, source.entity_fields], sort_keys=True))
    if source.dead_letters_kept != SourceConfig.dead_letters_kept:
        reading += ("dead_letters_kept", str(source.dead_letters_kept))
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
      config: the settings of the build.
      block: a block of one of its sources.
      vocabulary: fingerprint of the vocabulary.
      rules: the filters of the source.
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
    """Describes for people how a stage file was made; no build reads it.

    Tells only what the file's name depends on, and no paths, so that whoever makes the file writes the same bytes.

    Args:
      config: the settings of the build.
      source: index of the source.
      vocabulary: fingerprint of the vocabulary.
      rules: the filters of the source.
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
    """Says where the stage file of a part lies in a stage directory; the block's fingerprint is what `name_of` gives."""
    return files.join(directory, f"{block_fingerprint}-{part:05d}.stage")

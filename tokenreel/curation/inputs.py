"""Lists the files of all sources, in the order that a build relies on."""

from __future__ import annotations

from typing import Any

from tokenreel import keys
from tokenreel.config.build import JobConfig
from tokenreel.config.tokenizer import TokenizerJobConfig
from tokenreel.curation.filters import load_rules
from tokenreel.sources.listing import list_files


def list_inputs(config: JobConfig | TokenizerJobConfig) -> dict[str, Any]:
    """Summarises the input files: numbers, bytes and a digest of names and sizes, and of the lists that filters read.

    Raises:
      SourceError: a pattern matches nothing, or a file cannot be examined.
    """
    summary = {}
    for index, source in enumerate(config.sources):
        found = list_files(source)
        lists = load_rules(config.filters_of(index)).bad_words
        digest = keys.digest(*(f"{file.name}\0{file.size}" for file in found), *lists)
        summary[source.name] = {"bytes": sum(file.size for file in found), "digest": digest, "files": len(found)}
    return summary

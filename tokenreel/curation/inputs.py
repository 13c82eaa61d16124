"""Lists the files of all sources, in the order that a build relies on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from tokenreel import keys
from tokenreel.config.build import JobConfig
from tokenreel.config.tokenizer import TokenizerJobConfig
from tokenreel.curation import leaks, scores
from tokenreel.curation.filters import load_rules
from tokenreel.sources import first_look, heads
from tokenreel.sources.inputs import InputFile
from tokenreel.sources.listing import list_files, list_source


def survey(config: JobConfig | TokenizerJobConfig, note: Callable[[str], None]) -> tuple[dict[str, Any], Sequence[Sequence[InputFile]]]:
    """Lists the input files as `list_inputs` does, and takes the first look at what they hold, before a job starts.

    Args:
      config: the settings of the job.
      note: told what is strange about the text and no error.

    Returns:
      What `list_inputs` gives, and the files of each source.

    Raises:
      SourceError: as `list_inputs`, or a source cannot be used; see `heads.check`, `first_look.check` and `leaks.check_files`.
    """
    listings = [list_source(source) for source in config.sources]
    found = [listing.files for listing in listings]
    for line in itertools.chain.from_iterable(listing.notes for listing in listings):
        note(line)
    inputs = list_inputs(config, found)
    for source, listed in zip(config.sources, found, strict=True):
        for line in heads.check(source, listed):
            note(line)
    first_look.check(config, found, note)
    leaks.check_files(config, found, note)
    return inputs, found


def list_inputs(config: JobConfig | TokenizerJobConfig, found: Sequence[Sequence[InputFile]] | None = None) -> dict[str, Any]:
    """Summarises the input files: numbers, bytes and a digest of names and sizes, and of the lists that filters read.

    Args:
      config: the settings of the job.
      found: the files of each source, where they are listed already.

    Raises:
      SourceError: a pattern matches nothing, or a file cannot be examined.
    """
    summary = {}
    for index, source in enumerate(config.sources):
        listed = list_files(source) if found is None else found[index]
        filters = config.filters_of(index)
        lists = load_rules(filters).bad_words
        if filters.scores is not None:
            lists += (scores.digest(filters.scores),)
        digest = keys.digest(*(f"{file.name}\0{file.size}" for file in listed), *lists)
        summary[source.name] = {"bytes": sum(file.size for file in listed), "digest": digest, "files": len(listed)}
    return summary

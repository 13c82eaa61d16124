"""A look at the first records of each source, before a job starts: a mistake in its settings is one message, which says what there is.

The readers of the job read them, so that what is found here is what workers would find. A look costs the beginning of one file, and of a
few more where the first holds nothing that can be used.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence

from tokenreel.config.corpus import FIELDLESS_FORMATS, CorpusSettings, SourceConfig
from tokenreel.errors import SourceError
from tokenreel.sources import arrow_ends
from tokenreel.sources.documents import Documents
from tokenreel.sources.fault_log import Fault
from tokenreel.sources.inputs import InputFile
from tokenreel.sources.readers import warc
from tokenreel.sources.reading import Beginning, read_beginning
from tokenreel.wording import first_of

RECORDS = 100  # of a source
_FILES_OF_FIELDS = 64  # that are searched for a field that is kept, where the first ones have none
_FILES = 8  # of a source, where none of the first ones holds a document
_BYTES = 1 << 22  # of a file
_CANDIDATES = 30  # fields that are tried in place of the text field
_LONGEST = 80  # characters of a field's name
_NAMED = 20  # fields that a message names


def check(config: CorpusSettings, listed: Sequence[Sequence[InputFile]], note: Callable[[str], None]) -> None:
    """Looks at the first records of each source.

    A source of which nothing can be used is an error, unless `execution.max_dead_letter_fraction` allows that all is lost. So is one that
    holds no record at all, unless `execution.allow_empty_files` allows that and another source has some.

    Args:
      config: the sources, and how many faults are allowed.
      listed: the files of each source.
      note: told what is strange and no error.

    Raises:
      SourceError: nothing of a source can be used, as far as was looked; a line for each such source. Or a file cannot be read, or lacks a
        field, as `read_documents` says.
    """
    for source, files in zip(config.sources, listed, strict=True):
        arrow_ends.check(source, files, note)
    looks = [_look(source, index, files) for index, (source, files) in enumerate(zip(config.sources, listed, strict=True))]
    for index, (source, files) in enumerate(zip(config.sources, listed, strict=True)):
        if not looks[index].problem:
            _check_metadata(source, index, files, note)
    useless = [look.problem for look in looks if look.problem and not look.empty]
    empty = [look.problem for look in looks if look.problem and look.empty]
    wrong = [] if config.execution.max_dead_letter_fraction >= 1 else list(useless)
    if len(empty) == len(looks) or not config.execution.allow_empty_files:
        wrong += empty
    if wrong:
        raise SourceError("\n  ".join(wrong))
    for line in (*empty, *useless):
        note(line)


@dataclasses.dataclass(frozen=True)
class _Look:
    """What a look at a source found: what is wrong, if anything, and whether that is that the source holds no record at all."""

    problem: str | None = None
    empty: bool = False


def _look(source: SourceConfig, index: int, files: Sequence[InputFile]) -> _Look:
    """Looks at files of a source until one holds a document that can be used."""
    full = [file for file in files if file.size]
    looked: list[tuple[InputFile, Beginning]] = []
    for file in _spread(full, _FILES):
        try:
            found = read_beginning(file, source, RECORDS, _BYTES)
        except SourceError as error:
            raise _lacks(source, index, file, error) from error
        if len(found.documents) and not _magic(source, found):
            return _Look()
        looked.append((file, found))
    if all(beginning.whole and not beginning.documents.faults for _, beginning in looked) and len(looked) == len(full):
        return _Look(f"source {source.name!r} holds no record: {_describe_empty(files, full)}. Check sources.{index}.files.", empty=True)
    useless = [(file, beginning) for file, beginning in looked if beginning.documents.faults or _magic(source, beginning)]
    return _Look(_describe(source, index, useless) if useless and len(useless) == len(looked) else None)


def _spread(files: Sequence[InputFile], count: int) -> list[InputFile]:
    """Takes at most so many files, evenly from the first to the last."""
    if len(files) <= count:
        return list(files)
    return [files[round(place * (len(files) - 1) / (count - 1))] for place in range(count)]


def _describe_empty(files: Sequence[InputFile], full: Sequence[InputFile]) -> str:
    names = first_of([_shown(file) for file in full or files], 3)
    return f"{names} {'is' if len(full or files) == 1 else 'are'} {'blank, or a header alone' if full else 'empty'}"


def _lacks(source: SourceConfig, index: int, file: InputFile, error: SourceError) -> SourceError:
    """Says of a table without a field what it has, and what to set; returns other errors as they are."""
    if not error.fields:
        return error
    setting = _text_setting(source) if error.missing is None or error.missing in source.text_fields else _setting_of(error.missing, source)
    what = f"text in the field `{source.text_field}`" if error.missing is None else f"the field `{error.missing}`"
    parts = [f"No record of {_shown(file)} has {what}; they have {_list_names(error.fields, _NAMED)}."]
    if source.format in ("csv", "tsv") and error.fields[0].lstrip()[:1] in ("{", "["):
        return SourceError(f"{parts[0]} That is JSON: set sources.{index}.format: json.", error.missing, error.fields)
    separator = next((mark for mark in ";|\t," if _names_columns(error.fields[0].split(mark))), None) if len(error.fields) == 1 else None
    if source.format in ("csv", "tsv") and separator is not None:
        parts.append(f"Set sources.{index}.delimiter: {separator!r}.")
        return SourceError(" ".join(parts), error.missing, error.fields)
    best = _best_field(source, file, error.fields) if setting == "text_field" else None
    parts.append(f"Set sources.{index}.{setting}{f': {best}' if best else ' to one of them'}.")
    if source.format in ("csv", "tsv"):
        parts.append(f"If its first row is no row of names, give them in sources.{index}.columns.")
    return SourceError(" ".join(parts), error.missing, error.fields)


def _names_columns(parts: Sequence[str]) -> bool:
    """Tells a row of names, cut at its separator, from a sentence with a comma."""
    return len(parts) > 1 and all(part and part == part.strip() for part in parts)


def _check_metadata(source: SourceConfig, index: int, files: Sequence[InputFile], note: Callable[[str], None]) -> None:
    """Looks for a record with each of the fields that are kept, in formats whose records need not have the same.

    Raises:
      SourceError: all records of a small source were read, and none has one of the fields.
    """
    lacking = uncertain_fields(source)
    records, whole = 0, True
    for place, file in enumerate(file for file in files if file.size):
        if not lacking:
            return
        if place == _FILES_OF_FIELDS:
            whole = False
            break
        found = read_beginning(file, source, RECORDS if place == 0 else 1 << 62, _BYTES)
        if place == 0 and not found.whole and lacking - _kept(found.documents):
            found = read_beginning(file, source, 1 << 62, _BYTES)
        lacking -= _kept(found.documents)
        records, whole = records + len(found.documents), whole and found.whole
    if not lacking:
        return
    if whole:
        raise SourceError(lacking_fields(source, index, lacking))
    note(
        f"none of {records:,} records of source {source.name!r} has {_named_fields(source, lacking)}, which "
        f"{_settings_of(source, index, lacking)} names: if no other has, a build ends with an error once all are read."
    )


def uncertain_fields(source: SourceConfig) -> set[str]:
    """Gives the kept fields that a record need not have: not those of tables, whose columns are all there, or an error."""
    if source.format in ("csv", "tsv", "parquet", "arrow"):
        return set()
    return set(source.metadata_fields).difference(warc.FIELDS if source.format == "warc" else ())  # a crawl need not tell languages


def lacking_fields(source: SourceConfig, index: int, lacking: Collection[str]) -> str:
    """Says that no record of a source has some of the fields that it keeps, and what to do."""
    told = f"no record of source {source.name!r} has the field{'s' if len(lacking) > 1 else ''} {_named_fields(source, lacking)}"
    ways = "names of folders, such as `lang` of `lang=en/`" if source.format in FIELDLESS_FORMATS else "fields that there are"
    return f"{told}. Set {_settings_of(source, index, lacking)} to {ways}."


def _named_fields(source: SourceConfig, wanted: Collection[str]) -> str:
    return _list_names([name for name in source.metadata_fields if name in wanted], _NAMED)


def _settings_of(source: SourceConfig, index: int, wanted: Collection[str]) -> str:
    """Names the settings that keep some fields."""
    names = dict.fromkeys(_setting_of(name, source) for name in source.metadata_fields if name in wanted)
    return " and ".join(f"sources.{index}.{name}" for name in names)


def _kept(documents: Documents) -> set[str]:
    """Names the fields that some document has, of those that are kept."""
    return set().union(*(json.loads(text) for text in documents.metadata or ()))


def _text_setting(source: SourceConfig) -> str:
    """Names the setting that says where the text of a source is."""
    return next((name for name in ("text", "messages_field") if getattr(source, name) is not None), "text_field")


def _setting_of(name: str, source: SourceConfig) -> str:
    if name == source.id_field:
        return "id_field"
    for setting in ("label_fields", "entity_fields"):
        if name in getattr(source, setting):
            return setting
    return "order_field" if name == source.order_field else "metadata_fields"


def _describe(source: SourceConfig, index: int, useless: Sequence[tuple[InputFile, Beginning]]) -> str:
    """Says why nothing of some files of a source can be used."""
    paths = [_shown(file) for file, _ in useless]
    names = first_of(paths, 2)
    told = next((hint for _, beginning in useless if (hint := _magic(source, beginning))), None)
    if told:
        return f"{paths[0]} (source {source.name!r}, format: {source.format}) {told}."
    faults = [fault for _, beginning in useless for fault in beginning.documents.faults]
    (reason, count), *_ = Counter(fault.reason for fault in faults).most_common(1)
    first = next(fault for fault in faults if fault.reason == reason)
    if reason == "no_records":
        return f"{_place(first)} (source {source.name!r}): {first.message}. Set sources.{index}.records to the field that holds the array."
    fields = list(dict.fromkeys(itertools.chain.from_iterable(beginning.documents.fields for _, beginning in useless)))
    if fields and source.plain_text_field is not None and reason in ("no_text", "text_not_a_string"):
        best = _best_field(source, useless[0][0], fields)
        have = f"they have {_list_names(fields, _NAMED)}"
        what = f"has the field `{source.text_field}`" if reason == "no_text" else f"has text in the field `{source.text_field}`"
        choose = f": {best}" if best else " to the one that holds text"
        return f"No record of {names} {what}; {have}. Set sources.{index}.text_field{choose}."
    advice = {
        "no_id": f" Set sources.{index}.id_field to another field, or leave it out: documents are then named by their place.",
        "no_order": f" Set sources.{index}.order_field to a field that holds numbers or text.",
        "oversized": f" Set sources.{index}.max_document_mb to more.",
        "invalid_utf8": f" Set sources.{index}.encoding to that of the text, such as cp1252 or utf-16.",
    }.get(reason, f" Check sources.{index}.format, which is {source.format}.")
    return (
        f"No record of {names} (source {source.name!r}) can be used, as far as was looked: {count:,} {reason}. The first is "
        f"{_place(first)}: {first.message.rstrip('.')}.{advice}"
    )


def _magic(source: SourceConfig, beginning: Beginning) -> str | None:
    """Says what the first bytes of a file of text tell, where they tell of another format; None where they tell nothing."""
    head = beginning.head
    if source.format in ("parquet", "arrow", "tfrecord", "tfds", "warc"):
        return None
    if len(beginning.documents):
        return None
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    broken = all(fault.reason == "invalid_json" for fault in beginning.documents.faults)
    if source.format == "jsonl" and start.startswith(b"{") and broken and beginning.documents.faults:
        return "holds JSON objects over several lines, and jsonl is one object on each line: set its format to json"
    return None


def _best_field(source: SourceConfig, file: InputFile, fields: Sequence[str]) -> str | None:
    """Finds the field that holds the most text in the first records of a file; None where none holds any."""
    best, most = None, 0
    for field in fields[:_CANDIDATES]:
        tried = dataclasses.replace(source, text_field=field, id_field=None, order_field=None, metadata_fields=())
        try:
            size = len(read_beginning(file, tried, RECORDS, _BYTES).documents.text)
        except SourceError:  # a column of numbers, say
            continue
        if size > most:
            best, most = field, size
    return best


def _shown(file: InputFile) -> str:
    """Writes a path as one would type it: relative where the file lies below the working directory."""
    here = os.path.join(os.getcwd(), "")
    return file.path.removeprefix(here) if file.generation is None else file.path


def _list_names(names: Sequence[str], count: int) -> str:
    return first_of([f"`{name if len(name) <= _LONGEST else f'{name[:_LONGEST]}...'}`" for name in names], count)


def _place(fault: Fault) -> str:
    return f"{fault.file} line {fault.line:,}" if fault.line else f"{fault.file} byte {fault.position:,}"

"""A config with the names of its files written out: what a build of one date is made of, however often it is started again.

A pattern such as `gs://bucket/web/*.jsonl` finds more files tomorrow. A plan that is frozen for a date finds those that it found first.
"""

import json
import os
import sys

from pipelines import local
from tokenreel import keys
from tokenreel.config import paths, reading
from tokenreel.config.build import JobConfig
from tokenreel.config.parsing import from_dict, to_dict
from tokenreel.curation.inputs import survey
from tokenreel.format import pointer
from tokenreel.storage import files
from tokenreel.vocabularies.loading import open_vocabulary
from tokenreel.wording import plain

_DIGITS = 12  # of the fingerprint of settings, in names


def freeze(job: JobConfig, directory: str, date: str) -> tuple[JobConfig, str]:
    """Lists the files of a build once for a date, and writes the config with them; the next call for this date finds it.

    Args:
      job: the settings; their output is not used.
      directory: where outputs of dates lie, local or `gs://`.
      date: of the data, in ISO 8601.

    Returns:
      the settings as they are frozen, whose output is DATE-FINGERPRINT in the directory, and the path of the config, which lies beside it.

    Raises:
      ConfigError: the date is none.
      TokenreelError: as of a build whose files or vocabulary are wrong.
    """
    job = from_dict(JobConfig, paths.begin_in(os.getcwd(), to_dict(job)))  # it is written elsewhere, and means the same there
    when = pointer.normal_date(date)
    directory = files.absolute(directory)
    output = files.join(directory, f"{when[:10]}T{when[11:13]}{when[14:16]}-{fingerprint(job)}")
    path = f"{output}.plan.yaml"
    if files.size(path) is None:
        lists = [f"{output}.{index}.list" for index in range(len(job.sources))]
        _, listed = survey(job, local.note)
        for name, found in zip(lists, listed, strict=True):
            files.write_bytes(name, "".join(f"{file.path}\n" for file in found).encode("utf-8", "surrogateescape"))
        settings = to_dict(job)
        settings["output"] = output
        for source, name in zip(settings["sources"], lists, strict=True):
            source["files"] = [f"@{name}"]
        # Last: what is frozen is whole. JSON is YAML.
        files.write_bytes(path, json.dumps(settings, indent=1).encode() + b"\n")
    else:
        print(plain(f"tokenreel: {path} is there, and holds for this date"), file=sys.stderr)
    return reading.read(JobConfig, path), path


def fingerprint(job: JobConfig) -> str:
    """Identifies settings that make other datasets of the same files, and where they look for files."""
    model = open_vocabulary(job.vocabulary.kind, job.vocabulary.path, job.vocabulary.options)
    patterns = [list(source.files) for source in job.sources]
    text = json.dumps([job.semantics(), job.seed, model.fingerprint, patterns], sort_keys=True)
    return keys.digest(text)[:_DIGITS]

"""What a build has done and who works on it, told from its output alone: `tokenreel status OUTPUT`. It changes nothing there."""

import argparse
import dataclasses
import json
import os
import re
import time
from collections.abc import Iterator, Mapping

from tokenreel.assembly import output
from tokenreel.errors import ConfigError, ManifestError
from tokenreel.format import manifest, naming, pointer
from tokenreel.staging import being_read
from tokenreel.storage import claims, files, object_lock
from tokenreel.wording import plain, plural

_TABLE = re.compile(rf"{re.escape(naming.STAGE)}/[0-9a-f]{{16}}/tables/(stages|plan)-")
_QUIET = 15 * 60  # seconds without a new file that are worth a look: no step of a build takes so long for one


@dataclasses.dataclass(frozen=True)
class Holder:
    """Who has an output.

    Attributes:
      who: a process and its machine, or a job and its page.
      silent: seconds since its last sign of life, of a lock in a bucket or of a job; since it took the output, on a disk.
      alive: None where that cannot be known from here: a process on another machine, whose lock on a disk shows no sign of life.
    """

    who: str
    silent: float
    alive: bool | None


@dataclasses.dataclass(frozen=True)
class Status:
    """What a look at an output told.

    Attributes:
      output: the directory.
      state: "complete"; "damaged", its manifest; "running"; "silent", running without a new file for long; "stopped"; "unclear", where
        the holder is on another machine; "partial", files of a dataset without a manifest or the state of a build.
      step: of a build that is not complete: "listing", "tokenizing", "planning", "shards".
      stage_files, shards: that are there; of shards also `planned`, counting the splits of which one is written; None before that.
      reading: what processes read that ended over it; known on a disk alone.
      fingerprint: of a dataset that is complete.
      quiet: seconds since the last file changed in the output; None where there is none.
      holder: who has it, if anybody.
      advice: what to do.
    """

    output: str
    state: str
    step: str | None
    stage_files: int
    shards: int
    planned: int | None
    reading: list[str]
    fingerprint: str | None
    quiet: float | None
    holder: Holder | None
    advice: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("output", help="the output of a build, a dataset, or a pointer to one, local or gs://")
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Prints what a build has done.

    Returns:
      0 if it is complete or being built, 1 if it will not become complete by itself.

    Raises:
      ConfigError: there is nothing.
    """
    found = look(pointer.follow(arguments.output))
    print(json.dumps(dataclasses.asdict(found), indent=1) if arguments.json else plain("\n".join(_lines(found))))
    return 0 if found.state in ("complete", "running", "silent") else 1


def look(directory: str) -> Status:
    """Looks at an output: lists it, and reads its lock and manifest.

    Raises:
      ConfigError: there is nothing.
    """
    changed = {name: when for name, when in files.list_changes(directory).items() if name != claims.RECORD}
    holder = _holder(directory)
    if not changed and holder is None:
        raise ConfigError(f"{directory}: nothing was built here. Give the output of a build.")
    quiet = max(0.0, time.time() - max(changed.values())) if changed else None
    shards = output.shards_written(changed)
    planned = {place.split: place.count for place in shards}
    step = _step(changed)
    fingerprint, state = _state(directory, changed, holder, quiet)
    reading = being_read.left(files.join(directory, f"{naming.STAGE}/reading")) if state != "complete" else []
    return Status(
        output=directory,
        state=state,
        step=None if state in ("complete", "partial") else step,
        stage_files=len({name.rpartition("/")[2][:32] for name in changed if name.endswith(".stage")}),
        shards=len(shards),
        planned=sum(planned.values()) or None,
        reading=[str(mark) for mark in reading],
        fingerprint=fingerprint,
        quiet=quiet,
        holder=holder,
        advice=_advice(directory, state, holder),
    )


def _state(directory: str, changed: Mapping[str, float], holder: Holder | None, quiet: float | None) -> tuple[str | None, str]:
    """Gives the fingerprint of a complete dataset, and the state as `Status` tells it."""
    if holder is not None and holder.alive:
        return None, "silent" if quiet is not None and min(quiet, holder.silent) > _QUIET else "running"
    if naming.MANIFEST in changed:
        try:
            return manifest.read(directory).fingerprint, "complete"
        except ManifestError:
            return None, "damaged"
    if holder is not None and holder.alive is None:
        return None, "unclear"
    return None, "stopped" if any(name.startswith(f"{naming.STAGE}/") for name in changed) else "partial"


def _holder(directory: str) -> Holder | None:
    """Says who has an output, without touching the lock: a build that begins meanwhile must not find it taken."""
    record = claims.peek(directory)
    if not record:
        pid = None if files.is_remote(directory) else _locked_by(directory)
        return None if pid is None else Holder(f"process {pid} on this machine", 0.0, True)
    silent = files.age(claims.path_in(directory))
    if "job" in record:
        return Holder(claims.describe(record), silent, silent < claims.JOB_STALE)
    alive: bool | None = None
    if object_lock.is_of_this_machine(record):
        alive = not object_lock.is_dead(record)
    elif files.is_remote(directory):
        alive = silent < object_lock.STALE
    return Holder(claims.describe(record), silent, alive)


def _locked_by(directory: str) -> int | None:
    """Finds the process of this machine that locks a local directory: the system's table tells it, and trying the lock would take it."""
    try:
        inode = os.stat(directory).st_ino
        with open("/proc/locks", encoding="ascii") as table:
            rows = [line.split() for line in table]
    except OSError:
        return None
    return next((int(row[-4]) for row in rows if "FLOCK" in row and row[-3].rpartition(":")[2] == str(inode)), None)


def _step(changed: Mapping[str, float]) -> str:
    tables = {match[1] for name in changed for match in [_TABLE.match(name)] if match}
    if "plan" in tables:
        return "shards"
    if "stages" in tables:
        return "planning"
    return "tokenizing" if any(name.startswith(f"{naming.STAGE}/") for name in changed) else "listing"


def _advice(directory: str, state: str, holder: Holder | None) -> str:
    again = "run the same command again, which goes on where it stopped"
    if state == "silent":
        return f"no file changed for long: look at the log of {holder.who if holder else 'the build'}; if it hangs, end it and {again}"
    if state == "unclear":
        return f"see on that machine whether the process still runs; if not, {again}"
    if state == "damaged":
        return f"{again}, or copy the dataset from where it is whole; `tokenreel verify {directory}` says what is damaged"
    return {
        "complete": f"nothing; `tokenreel verify {directory}` compares every byte",
        "running": "wait for it",
        "stopped": again + "; `tokenreel clean` removes what nobody goes on with",
        "partial": "no build left this: copy the dataset again, or build it elsewhere",
    }[state]


def _lines(found: Status) -> Iterator[str]:
    """Writes it for people."""
    yield f"{found.output}: {found.state}" + (f", {_STEPS[found.step]}" if found.step else "")
    if found.fingerprint:
        yield f"fingerprint: {found.fingerprint}"
    of = f" of {found.planned:,}" if found.planned else ""
    stages = f"{plural(found.stage_files, 'block')} tokenized in .stage/, " if found.stage_files else ""
    yield f"done: {stages}{found.shards:,}{of} shards written"
    if found.holder is not None:
        alive = {True: "alive", False: "ended without giving it back", None: "on another machine, so not known to be alive"}
        yield f"held by: {found.holder.who} ({alive[found.holder.alive]}, last sign of life {_ago(found.holder.silent)})"
    elif found.state not in ("complete", "partial"):
        yield "held by: nobody"
    if found.quiet is not None:
        yield f"last change: {_ago(found.quiet)}"
    for name in found.reading[:5]:
        yield f"a process ended while it read {name}"
    yield f"what to do: {found.advice}"


_STEPS = {
    "listing": "listing its files",
    "tokenizing": "reading and tokenizing text",
    "planning": "planning shards",
    "shards": "writing shards",
}


def _ago(seconds: float) -> str:
    for unit, size in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit} ago"
    return f"{seconds:.0f} s ago"

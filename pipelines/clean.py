"""What a scheduled job may remove, below the directory where it builds a dataset for each date: `tokenreel clean DIRECTORY --keep N`."""

import argparse
import dataclasses
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from pipelines import cache, status
from tokenreel.assembly import output, remembered_inputs
from tokenreel.errors import BuildError, ConfigError, ManifestError
from tokenreel.format import naming, pointer
from tokenreel.storage import files, locking, pooled
from tokenreel.wording import amount, plain, plural

# DATE-FINGERPRINT, as the DAGs name their outputs: whatever has another name is somebody's, and stays.
_DATED = re.compile(r"\d{4}-?\d{2}-?\d{2}(T\d{4,6}Z?)?-[0-9a-f]{8,64}")


@dataclasses.dataclass(frozen=True)
class Decision:
    """What becomes of one dated output.

    Attributes:
      name: of its directory.
      remove: "all", "stage" (what a finished build left in `.stage/`), or "" for nothing.
      why: in words.
      bytes: that go.
    """

    name: str
    remove: str
    why: str
    bytes: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("directory", type=files.expand, help="where the dated outputs lie (DATE-FINGERPRINT), local or gs://")
    parser.add_argument("--keep", type=int, required=True, metavar="N", help="finished datasets to keep, the latest ones")
    parser.add_argument(
        "--pointer", nargs="+", default=[], type=files.expand, metavar="PATH", help="pointers elsewhere; those in the directory are found"
    )
    parser.add_argument("--dead-after", default="7d", metavar="AGE", help="without a change, before an unfinished build goes (7d)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be removed, and remove nothing")


def run(arguments: argparse.Namespace) -> int:
    """Removes, and says what.

    Returns:
      0.

    Raises:
      ConfigError: there is no such directory, or an argument is impossible.
      ManifestError: a pointer cannot be read, so what it names is not known; nothing is removed.
    """
    if arguments.keep < 1:
        raise ConfigError(f"--keep {arguments.keep}: keep at least 1, the latest")
    dead_after = cache.seconds(arguments.dead_after)
    present = _present(arguments.directory)
    decisions = decide(arguments.directory, present, arguments.keep, arguments.pointer, dead_after)
    removed = 0
    for each in decisions:
        if each.remove and not arguments.dry_run:
            each = _remove(arguments.directory, each, arguments.pointer)
        verb = ("would remove" if arguments.dry_run else "removed") if each.remove else "kept"
        what = f" .stage/ ({amount(each.bytes)})" if each.remove == "stage" else f" ({amount(each.bytes)})" if each.remove else ""
        print(plain(f"{verb} {each.name}{what}: {each.why}"))
        removed += each.bytes if each.remove else 0
    print(f"{'would remove' if arguments.dry_run else 'removed'} {amount(removed)} of {plural(len(decisions), 'dated output')}")
    return 0


def _present(directory: str) -> dict[str, dict[str, int]]:
    """Lists the files of each folder below a directory, by their names in it; "" has those in the directory itself.

    Raises:
      ConfigError: there is no such directory.
    """
    found: dict[str, dict[str, int]] = {"": {}}
    for name, size in files.list_files(directory).items():
        folder, _, rest = name.rpartition("/") if "/" not in name else name.partition("/")
        found.setdefault(folder, {})[rest] = size
    if found == {"": {}}:
        raise ConfigError(f"{directory}: no such directory, or an empty one. Give the one where the dated outputs lie.")
    return found


def decide(
    directory: str, present: Mapping[str, Mapping[str, int]], keep: int, pointers: Sequence[str], dead_after: float
) -> list[Decision]:
    """Decides what becomes of each dated output, the latest first.

    Args:
      directory: where they lie.
      present: the files of each folder, as listed.
      keep: finished ones to keep, beside those that pointers name.
      pointers: that lie elsewhere.
      dead_after: seconds without a change after which nobody goes on with an unfinished one.
    """
    named = _named(directory, present[""], pointers)
    decisions, finished = [], 0
    for name in sorted((name for name in present if _DATED.fullmatch(name)), reverse=True):
        path, inside = files.join(directory, name), present[name]
        foreign = next((each for each in inside if each != locking.LOCK and not output.is_ours(each)), None)
        look = status.look(path)
        total, stage = sum(inside.values()), sum(size for each, size in inside.items() if each.startswith(f"{naming.STAGE}/"))
        if _real(path) in named:
            decisions.append(Decision(name, "", f"named by {named[_real(path)]}"))
            finished += look.state == "complete"
        elif foreign is not None:
            decisions.append(Decision(name, "", f"holds {foreign}, which no build writes"))
        elif look.state in ("running", "silent", "unclear"):
            decisions.append(Decision(name, "", f"{look.holder.who if look.holder else 'somebody'} has it"))
        elif look.state == "complete":
            finished += 1
            if finished > keep:
                decisions.append(Decision(name, "all", f"older than the {keep} kept", total))
            elif stage:
                decisions.append(Decision(name, "stage", "it is finished", stage))
            else:
                decisions.append(Decision(name, "", f"number {finished} of the {keep} kept"))
        elif look.quiet is not None and look.quiet < dead_after:
            decisions.append(Decision(name, "", f"{look.state}, but it changed {look.quiet / 3600:.1f} hours ago"))
        else:
            decisions.append(Decision(name, "all", f"{look.state}, and nothing changed for {dead_after / 86_400:g} days", total))
    return decisions


def _named(directory: str, beside: Collection[str], pointers: Sequence[str]) -> dict[str, str]:
    """Finds what pointers name: directory to pointer. A file beside the outputs that is no pointer is none; one that was given must be."""
    found = {_real(pointer.read(path).current.dataset): path for path in pointers}
    for name in beside:
        if pointer.is_pointer(name) and not name.startswith("."):
            path = files.join(directory, name)
            try:
                found[_real(pointer.read(path).current.dataset)] = path
            except ManifestError:
                if pointer.FORMAT.partition("/")[0].encode() in files.read_bytes(path):
                    raise
    return found


def _real(path: str) -> str:
    return path.rstrip("/") if files.is_remote(path) else os.path.realpath(path)


def _remove(directory: str, decision: Decision, pointers: Sequence[str]) -> Decision:
    """Removes what was decided, while nobody else can build there; gives the decision anew where it no longer holds."""
    path = files.join(directory, decision.name)
    try:
        with locking.lock(path):
            beside = files.list_beside(directory)
            if _real(path) in _named(directory, beside, pointers):
                return Decision(decision.name, "", "a pointer names it by now")
            inside = [name for name in files.list_files(path) if name != locking.LOCK]
            if decision.remove == "stage":
                inside = [name for name in inside if name.startswith(f"{naming.STAGE}/")]
            # The manifest first: from then on nothing can be loaded that is no longer whole.
            inside.sort(key=lambda name: name != naming.MANIFEST)
            for name in inside[:1]:
                files.remove(files.join(path, name))
            pooled.remove(files.join(path, name) for name in inside[1:])
            if not files.is_remote(path):
                pooled.remove_tree(path if decision.remove == "all" else files.join(path, naming.STAGE))
    except BuildError as error:
        return Decision(decision.name, "", str(error))
    if decision.remove == "all":
        for name in _companions(directory, decision.name, beside):
            files.remove(files.join(directory, name))
    return decision


def _companions(directory: str, name: str, beside: Collection[str]) -> Iterator[str]:
    """Finds what lies beside an output and belongs to it: what its build remembered of its inputs, and the plan that it was built by."""
    remembered = remembered_inputs.path_of(files.join(directory, name))
    for each in beside:
        if each == os.path.basename(remembered or "") or each.startswith((f"{name}.", f".{name}.")):
            yield each

"""The output directory of a build: whose it is, what may stay in it, and what is cleared away.

Tested in tests/pipelines/test_build.py, tests/pipelines/test_faults.py and tests/pipelines/test_rebuilds.py.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from tokenreel.assembly import remembered_inputs
from tokenreel.assembly.remembered_inputs import CONTENT
from tokenreel.config.build import JobConfig
from tokenreel.config.workspace import Workspace, is_of_build
from tokenreel.errors import BuildError, ManifestError
from tokenreel.format import manifest, naming
from tokenreel.format.manifest import Manifest, VocabularyInfo
from tokenreel.planning.identity import algorithms, identity
from tokenreel.planning.recipe import Recipe
from tokenreel.sources.inputs import InputFile
from tokenreel.storage import files, links, locking, pooled, sealed
from tokenreel.storage.files import ABANDONED_SECONDS
from tokenreel.wording import plural

_BUILD = f"{naming.STAGE}/build.json"
_STAGE_FILE = ".stage"  # ends the names of files of tokens
_ADVICE = "Add --overwrite to replace it, or choose another --output."
_MARKS = (naming.COMPLETED, naming.MANIFEST)  # of a finished dataset, for SeqIO and for us
_FOLDERS = (naming.STAGE, "provenance", "dead_letters")


class _Begun(enum.Enum):
    """Which build wrote to the directory last, by what it left of its state."""

    NONE = "none"
    OURS = "ours"  # an attempt at this very build
    ANOTHER = "another"
    UNKNOWN = "unknown"  # its state is damaged


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be built in a directory.

    Attributes:
      output: the directory.
      build: identity of the build.
      differences: says in what a finished dataset is another one.
      check_inputs: raises BuildError where the inputs of a finished dataset, which is this one by all that is known, have changed since.
      begin: called before a build begins to write.
      stage: a directory of stage files elsewhere.
      read: reads the manifest of what is finished.
      is_ours: says whether a job of this kind writes files of a name.
    """

    output: str
    build: str
    differences: Callable[[Any], Sequence[str]]
    check_inputs: Callable[[Any], object] = bool
    begin: Callable[[], object] = bool
    stage: str | None = None
    read: Callable[[str], Any] = manifest.read
    is_ours: Callable[[str], bool] = lambda name: is_ours(name)


def prepare(
    recipe: Recipe,
    inputs: Mapping[str, Any],
    listed: Sequence[Sequence[InputFile]],
    *,
    overwrite: bool,
    recheck: bool = False,
    note: Callable[[str], object] = str,
    before_changes: Callable[[], object] = bool,
) -> Manifest | None:
    """Makes the output directory of a recipe ready: see `make_ready`.

    Args:
      recipe: what is to be built.
      inputs: what the listing found, as `list_inputs` gives it.
      listed: the files of each source.
      overwrite: as in `make_ready`, as are the others.
      recheck: reads all text and the files of a finished dataset, in place of asking for their sizes and times alone.
      note: told what is replaced, and what is made again.
      before_changes: called when it is known that the directory is to be written to.
    """
    config, build = recipe.config, identity(recipe, inputs)
    wanted = Wanted(
        output=config.output,
        build=build,
        differences=lambda found: _differences(recipe, inputs, found),
        check_inputs=lambda found: _check_text(config, build, found, listed, recheck=recheck),
        begin=lambda: remembered_inputs.write_listing(config, build, listed),
        stage=config.execution.stage,
    )
    finished: Manifest | None = make_ready(wanted, overwrite=overwrite, recheck=recheck, note=note, before_changes=before_changes)
    return finished


def make_ready(
    wanted: Wanted,
    *,
    overwrite: bool,
    recheck: bool = False,
    note: Callable[[str], object] = str,
    before_changes: Callable[[], object] = bool,
) -> Any:
    """Makes the output directory ready, and finds out whether the dataset is there already.

    What a build of the same settings and files left is taken up; what another one left that did not finish is replaced, but for its stage
    files, which are named by their content. To be called by who holds the lock.

    Args:
      wanted: what is to be built.
      overwrite: replaces whatever else a build left. What an attempt at this very build did since then is kept.
      recheck: reads the files of a finished dataset, in place of asking for their sizes alone.
      note: told what is replaced, and what is made again.
      before_changes: called when it is known that the directory is to be written to.

    Returns:
      the manifest, if this very dataset is complete; its leftovers are then cleared away.

    Raises:
      BuildError: the directory holds another dataset, or a part of one, and `overwrite` is not set; or files that no build writes; or
        links to folders, which a build would write and remove files in.
    """
    directory = wanted.output
    present = _present(directory)
    _check_names(wanted, present)
    begun = _find_begun(directory, present, wanted.build)
    # Under --overwrite a finished dataset is this build's own only if the build did not come to clearing its state away.
    replaced = overwrite and (begun is not _Begun.OURS if naming.MANIFEST in present else begun in (_Begun.NONE, _Begun.ANOTHER))
    if naming.MANIFEST in present and not replaced:
        try:
            finished = _find_finished(wanted, begun, note)
            if finished is not None:
                wanted.check_inputs(finished)
        except BuildError:
            if not overwrite:
                raise
            finished, replaced = None, True
        if finished is not None and _is_whole(directory, finished, present, recheck=recheck, note=note):
            _remove_temporary(wanted, present)
            return finished
    before_changes()
    if replaced:
        _clear(wanted, present)
    elif naming.MANIFEST not in present:  # of a dataset what is sound is kept
        _take_up(wanted, present, begun, note)
    _remove_temporary(wanted, present)
    _remove_superseded(wanted, present)
    sealed.write(files.join(directory, _BUILD), {"build": wanted.build})  # before everything else
    wanted.begin()
    for name in _MARKS:
        files.remove(files.join(directory, name))  # of a dataset that is made again
    return None


def _take_up(wanted: Wanted, present: Mapping[str, int], begun: _Begun, note: Callable[[str], object]) -> None:
    """Keeps what this build left unfinished, and replaces what another one did, but for its stage files.

    Raises:
      BuildError: nothing says that a build left it.
    """
    directory = wanted.output
    if begun is _Begun.ANOTHER:
        note(f"{directory}: replacing what a build of other settings or files left there, which did not finish")
        _clear(wanted, {name: size for name, size in present.items() if not name.endswith(_STAGE_FILE)})
    elif begun is _Begun.UNKNOWN:
        note(f"{directory}: the state of the build that began there is damaged and made again; what it finished is looked at and kept")
    elif remains := [name for name in present if begun is _Begun.NONE and not files.TEMPORARY.search(name)]:
        raise BuildError(
            f"{directory}: holds {plural(len(remains), 'file')} of a dataset, such as {remains[0]}, but no {naming.MANIFEST}: an "
            "incomplete copy perhaps. Add --overwrite to replace them, or choose another --output."
        )


def _check_names(wanted: Wanted, present: Mapping[str, int]) -> None:
    """Checks that a build may write, and remove files, in a directory.

    Raises:
      BuildError: it holds files of somebody else, or a folder that builds write to leads elsewhere.
    """
    directory = wanted.output
    foreign = [name for name in present if not wanted.is_ours(name)]
    if foreign:
        raise BuildError(
            f"{directory}: holds {plural(len(foreign), 'file')} that no build writes, such as {foreign[0]}. Choose an empty or "
            "new directory."
        )
    for name in links.linked_folders(directory):
        if name.split("/")[0] in _FOLDERS:
            raise BuildError(
                f"{files.join(directory, name)}: a symbolic link, where a build writes and removes files. Remove the link; execution.stage "
                "names another place for tokens."
            )


def _find_begun(directory: str, present: Mapping[str, int], build: str) -> _Begun:
    """Finds out whose build wrote to the directory last: it writes its state before everything else, and clears it away last."""
    state = sealed.read(files.join(directory, _BUILD))
    if state is not None:
        return _Begun.OURS if state.get("build") == build else _Begun.ANOTHER
    # A dataset that was copied has nothing in this folder, and not the folder itself.
    stage = files.join(directory, naming.STAGE)
    begun = any(name.startswith(f"{naming.STAGE}/") for name in present) or (not files.is_remote(stage) and os.path.isdir(stage))
    return _Begun.UNKNOWN if begun else _Begun.NONE


def _present(directory: str) -> dict[str, int]:
    """Lists what lies in the output, with its bytes, our own lock aside."""
    return {name: size for name, size in files.list_files(directory).items() if name != locking.LOCK}


def is_ours(name: str) -> bool:
    """Says whether a build writes files of this name: others are somebody's, and no build removes them."""
    top = name.split("/")[0]
    known = (
        naming.MANIFEST,
        naming.STATISTICS,
        naming.REPORT,
        naming.SHARD_TABLE,
        *naming.BESIDE_TOKENIZER,
        "vocabulary.model",
        "vocabulary.json",
        "vocabulary.tiktoken",
    )
    plain = files.TEMPORARY.sub("", name)
    return plain in known or naming.is_shard(plain) or naming.is_seqio_view(plain) or top in _FOLDERS


def is_part(name: str) -> bool:
    """Says whether a file of this name would be listed in a manifest."""
    if name in (naming.MANIFEST, naming.REPORT) or name.startswith(f"{naming.STAGE}/") or files.TEMPORARY.search(name):
        return False
    return is_ours(name)


def _clear(wanted: Wanted, present: Mapping[str, int]) -> None:
    """Removes what builds write, the marks of completion first: from then on nothing can be loaded."""
    for name in _MARKS:
        if name in present:
            files.remove(files.join(wanted.output, name))
    pooled.remove(files.join(wanted.output, name) for name in filter(wanted.is_ours, present) if name not in _MARKS)


def _find_finished(wanted: Wanted, begun: _Begun, note: Callable[[str], object]) -> Any:
    """Reads the manifest of a finished dataset.

    Returns:
      the manifest; None if it is damaged, and this very build wrote it.

    Raises:
      BuildError: it is damaged, or says that another build made it; names what differs.
    """
    try:
        found = wanted.read(wanted.output)
    except ManifestError as error:
        if begun is not _Begun.OURS and remembered_inputs.built_by(wanted.output) != wanted.build:
            raise BuildError(f"{error} {_ADVICE}") from error
        note(f"{files.join(wanted.output, naming.MANIFEST)}: damaged; the dataset is made again")
        return None
    if different := wanted.differences(found):
        raise BuildError(f"{wanted.output}: holds a finished dataset with other {' and '.join(different)}. {_ADVICE}")
    return found


def _differences(recipe: Recipe, inputs: Mapping[str, Any], found: Manifest) -> list[str]:
    """Says in what a finished dataset differs from a recipe."""
    config = recipe.config
    if "sources" not in found.config:  # of a task
        return ["settings"]
    listing = {source: {name: told for name, told in entry.items() if name != CONTENT} for source, entry in found.totals["inputs"].items()}
    wanted = {
        "settings": (found.config, json.loads(json.dumps(config.semantics()))),  # as they read after a way through JSON
        "seed": (found.seed, config.seed),
        "vocabulary": tuple(_told(each) for each in (found.vocabulary, recipe.vocabulary)),
        "input files": (listing, dict(inputs)),
        "version": (dict(found.algorithms), algorithms(recipe)),
    }
    return [name for name, (old, new) in wanted.items() if old != new]


def _told(vocabulary: VocabularyInfo) -> tuple[Any, ...]:
    """What has to be the same of two vocabularies whose datasets have the same settings; files beside one may name other special ids."""
    return vocabulary.fingerprint, vocabulary.pad_id, vocabulary.bos_id, vocabulary.eos_id, vocabulary.unk_id, dict(vocabulary.options)


def _check_text(config: JobConfig, build: str, found: Manifest, listed: Sequence[Sequence[InputFile]], *, recheck: bool) -> None:
    """Checks that the text is still what a finished dataset was made of; names and sizes of its files are.

    Raises:
      BuildError: a file holds other text.
    """
    if different := remembered_inputs.changed(config, build, found.totals["inputs"], listed, recheck=recheck):
        more = f" and {plural(len(different) - 1, 'more file')}" if len(different) > 1 else ""
        raise BuildError(
            f"{config.output}: holds a finished dataset of other text: {different[0]}{more} changed since it was built, to contents of the "
            f"same size. {_ADVICE}"
        )


def _is_whole(directory: str, found: Manifest, present: Mapping[str, int], *, recheck: bool, note: Callable[[str], object]) -> bool:
    """Says whether the files of a finished dataset are what its manifest says; otherwise notes what is not."""
    damaged = list(_damaged(directory, found, present, recheck=recheck))
    if damaged:
        more = f" and {plural(len(damaged) - 1, 'more file')}" if len(damaged) > 1 else ""
        note(f"{files.join(directory, damaged[0])}{more}: missing, or not what the manifest says; the dataset is made again")
    return not damaged


def _damaged(directory: str, found: Manifest, present: Mapping[str, int], *, recheck: bool) -> Iterator[str]:
    """Finds the files of a dataset that are missing or of another size; with `recheck` also those of another CRC."""
    known = found.checksums()
    sound = [name for name, wanted in known.items() if present.get(name) == wanted[0]]
    if recheck:
        checked = pooled.each(lambda name: files.checksum(files.join(directory, name)), sound, remote=files.is_remote(directory))
        sound = [name for name, checksum in zip(sound, checked, strict=True) if checksum == known[name]]
    yield from sorted(known.keys() - set(sound))


def _remove_superseded(wanted: Wanted, present: Mapping[str, int]) -> None:
    """Removes what a job wrote whose output was taken over; nothing of it was moved to its place since then."""
    own = Workspace(wanted.output, "", wanted.build).directory
    for name in present:
        path = files.join(wanted.output, name)
        if is_of_build(name) and not path.startswith(f"{own}/"):
            files.remove(path)


def shards_written(present: Collection[str]) -> set[naming.Place]:
    """Finds the shards that are written: those in their places, and those on their way there."""
    names = {re.sub(r"\.[0-9a-f]+$", "", name.rpartition("/")[2]) if is_of_build(name) else name for name in present}
    return {place for name in names if (place := naming.place_of_shard(name)) is not None}


def _remove_temporary(wanted: Wanted, present: Mapping[str, int]) -> None:
    """Removes what writes left that did not finish."""
    pooled.remove(files.join(wanted.output, name) for name in present if files.TEMPORARY.search(name))
    if wanted.stage and not files.is_remote(wanted.stage):  # objects have no temporary form
        for name in files.list_files(wanted.stage):
            path = files.join(wanted.stage, name)
            # Another build may be writing to this directory just now.
            if files.TEMPORARY.search(name) and files.age(path) > ABANDONED_SECONDS:
                files.remove(path)


def remove_stage(directory: str) -> None:
    """Removes what only a running build needs of its output, the build's state last; a stage directory that the config names is kept."""
    stage = files.join(directory, naming.STAGE)
    state = files.join(directory, _BUILD)
    pooled.remove(path for name in files.list_files(stage) if (path := files.join(stage, name)) != state)
    pooled.remove_tree(stage)

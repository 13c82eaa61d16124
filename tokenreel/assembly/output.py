"""The output directory of a build: whose it is, what may stay in it, and what is cleared away.

Tested in tests/pipelines/test_build.py and tests/pipelines/test_faults.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from tokenreel.config.build import JobConfig
from tokenreel.errors import BuildError, ManifestError
from tokenreel.format import manifest, naming
from tokenreel.format.manifest import Manifest
from tokenreel.planning.identity import algorithms, identity
from tokenreel.planning.recipe import Recipe
from tokenreel.storage import files, locking
from tokenreel.storage.files import ABANDONED_SECONDS
from tokenreel.wording import plural

_BUILD = "build.json"
_STAGE_FILE = ".stage"  # ends the names of files of tokens


def prepare(recipe: Recipe, inputs: Mapping[str, Any], *, overwrite: bool, note: Callable[[str], object] = str) -> Manifest | None:
    """Makes the output directory ready, and finds out whether the dataset is there already.

    What a build of the same settings and files left is taken up; what another one left that did not finish is replaced, but for its stage
    files, which are named by their content. To be called by who holds the lock.

    Args:
      recipe: what is to be built.
      inputs: what the listing found.
      overwrite: replaces a finished dataset too.
      note: told what is replaced.

    Returns:
      the manifest, if this very dataset is complete; its leftovers are then cleared away.

    Raises:
      BuildError: the directory holds another dataset, or a part of one, and `overwrite` is not set; or files that no build writes.
    """
    config, build = recipe.config, identity(recipe, inputs)
    present = _present(config.output)
    if overwrite:
        _clear(config.output, present)
        present = _present(config.output)
    foreign = [name for name in present if not _is_ours(name)]
    if foreign:
        raise BuildError(
            f"{config.output}: holds {plural(len(foreign), 'file')} that no build writes, such as {foreign[0]}. Choose an empty or "
            "new directory."
        )
    if naming.MANIFEST in present:
        finished = _matching(recipe, inputs)
        _remove_temporary(config, present)
        return finished
    state = f"{naming.STAGE}/{_BUILD}"
    if present and state in present and _read_state(files.join(config.output, state)) == build:
        _remove_temporary(config, present)
        return None
    remains = [name for name in present if name != state and not files.TEMPORARY.search(name)]
    if remains and state not in present:  # a build writes its state before everything else
        raise BuildError(
            f"{config.output}: holds {plural(len(remains), 'file')} of a dataset, such as {remains[0]}, but no {naming.MANIFEST}: an "
            "incomplete copy perhaps. Add --overwrite to replace them, or choose another --output."
        )
    if remains:
        note(f"{config.output}: replacing what a build of other settings or files left there, which did not finish")
        _clear(config.output, {name: size for name, size in present.items() if not name.endswith(_STAGE_FILE)})
    _remove_temporary(config, present)
    files.write_bytes(files.join(config.output, state), json.dumps({"build": build}).encode())
    return None


def _present(directory: str) -> dict[str, int]:
    """Lists what lies in the output, with its bytes, our own lock aside."""
    return {name: size for name, size in files.list_files(directory).items() if name != locking.LOCK}


def _read_state(path: str) -> str | None:
    """Reads which build, by its identity, began to write to a directory."""
    try:
        return str(json.loads(files.read_bytes(path))["build"])
    except (ValueError, KeyError, TypeError):  # damaged: whatever is there cannot be trusted
        return None


def _is_ours(name: str) -> bool:
    """Says whether a build writes files of this name: others are somebody's, and no build removes them."""
    top = name.split("/")[0]
    known = (naming.MANIFEST, naming.STATISTICS, naming.REPORT, "vocabulary.model", "vocabulary.json")
    plain = files.TEMPORARY.sub("", name)
    return plain in known or naming.is_shard(plain) or top in (naming.STAGE, "provenance", "dead_letters")


def _clear(directory: str, present: Mapping[str, int]) -> None:
    """Removes what builds write, the manifest first: from then on nothing can be loaded."""
    for name in sorted(filter(_is_ours, present), key=lambda name: name != naming.MANIFEST):
        files.remove(files.join(directory, name))


def _matching(recipe: Recipe, inputs: Mapping[str, Any]) -> Manifest:
    """Reads the manifest of a finished dataset.

    Raises:
      BuildError: it is damaged, or says that another build made it; names what differs.
    """
    config = recipe.config
    advice = "Add --overwrite to replace it, or choose another --output."
    try:
        found = manifest.read(config.output)
    except ManifestError as error:
        raise BuildError(f"{error} {advice}") from error
    wanted = {
        "settings": (found.config, json.loads(json.dumps(config.semantics()))),  # as they read after a way through JSON
        "seed": (found.seed, config.seed),
        "vocabulary": (found.vocabulary.fingerprint, recipe.vocabulary.fingerprint),
        "input files": (found.totals["inputs"], dict(inputs)),
        "version": (dict(found.algorithms), algorithms(recipe)),
    }
    different = [name for name, (old, new) in wanted.items() if old != new]
    if different:
        raise BuildError(f"{config.output}: holds a finished dataset with other {' and '.join(different)}. {advice}")
    return found


def _remove_temporary(config: JobConfig, present: Mapping[str, int]) -> None:
    """Removes what writes left that did not finish."""
    for name in present:
        if files.TEMPORARY.search(name):
            files.remove(files.join(config.output, name))
    if config.execution.stage and not files.is_remote(config.execution.stage):  # objects have no temporary form
        for name in files.list_files(config.execution.stage):
            path = files.join(config.execution.stage, name)
            # Another build may be writing to this directory just now.
            if files.TEMPORARY.search(name) and files.age(path) > ABANDONED_SECONDS:
                files.remove(path)


def remove_stage(config: JobConfig) -> None:
    """Removes what only a running build needs; a stage directory that the config names is kept."""
    files.remove_tree(files.join(config.output, naming.STAGE))

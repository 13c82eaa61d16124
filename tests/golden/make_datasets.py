"""Writes golden datasets with today's code: `python -m tests.golden.make_datasets VERSION`, for a version that is not there yet.

A new version is written when new builds differ from older ones on purpose; the older folders stay, and keep on being read.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from tests import buckets
from tests.golden import builds


def write(directory: pathlib.Path, recipes: Sequence[str]) -> None:
    """Writes the dataset of each recipe, and what is expected of them."""
    expected = {}
    with buckets.server() as server, tempfile.TemporaryDirectory() as folder:
        builds.upload(server)
        for recipe in recipes:
            built = pathlib.Path(folder) / recipe
            overrides = builds.settings(recipe)
            stage_files = builds.build(recipe, overrides, built)
            expected[recipe] = {
                "config": builds.config(recipe),
                "settings": overrides,
                "fingerprint": json.loads((built / "manifest.json").read_text())["fingerprint"],
                "build": builds.digest_of_build(recipe, overrides),
                "stage_files": stage_files,
                "runs": {name: follow(built, given) for name, given in builds.runs(built).items()},
                "shipped": builds.shipped(recipe),
            }
        found = {"written_with": builds.libraries(), "recipes": expected}
        directory.mkdir(parents=True)
        for recipe in expected:
            shutil.copytree(pathlib.Path(folder) / recipe, directory / recipe)
        (directory / builds.EXPECTED).write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


def follow(directory: pathlib.Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Saves states of a run, and the digests of the batches that follow each."""
    saved = [{"state": state, "batches": builds.replay(directory, given, state)} for state in builds.states(directory, given)]
    return {"arguments": given, "states": saved}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("version", help="name of the folder to write, such as v2")
    parser.add_argument(
        "recipes", nargs="*", default=builds.recipes(), metavar="RECIPE", help="of these alone, for what no version has yet"
    )
    arguments = parser.parse_args()
    directory = builds.DATASETS / arguments.version
    if directory.exists():
        parser.error(f"{directory} is there already. Datasets in use look like it: write a new version beside it.")
    write(directory, arguments.recipes)
    print(directory)


if __name__ == "__main__":
    main()

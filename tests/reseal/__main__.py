"""`python -m tests.reseal --count 1000`: builds datasets of every kind, and counts how many edits of their numbers `verify` finds.

Every kind of number is edited at least once, the others are drawn. Numbers that `verify` says it takes on trust do not count. The last line
is `1000 edits, 1000 found`; each edit that is not found has a line before it.
"""

from __future__ import annotations

import argparse
import pathlib
import random
import shutil
import sys
import tempfile

from tests.reseal import recipes
from tests.reseal.edits import Leaf, edit, leaves
from tokenreel.format import manifest
from tokenreel.inspection.trust import is_trusted, taken_on_trust
from tokenreel.inspection.verification import verify


def main() -> int:
    """Gives 0 where every edit was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.reseal", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="edits")
    parser.add_argument("--seed", type=int, default=0, help="of what is edited, and how")
    parser.add_argument("--recipes", nargs="*", default=list(recipes.RECIPES), help="which datasets")
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        directory = pathlib.Path(folder)
        recipes.write_corpus(directory)
        datasets = {recipe: recipes.build(recipe, directory) for recipe in arguments.recipes}
        missed = 0
        chosen = choose(datasets, arguments.count, draw)
        for recipe, leaf in chosen:
            line = try_edit(datasets[recipe], leaf, draw)
            missed += line is not None
            if line is not None:
                print(f"{recipe}: {line}", flush=True)
    print(f"{len(chosen)} edits, {len(chosen) - missed} found")
    return int(missed > 0)


def choose(datasets: dict[str, pathlib.Path], count: int, draw: random.Random) -> list[tuple[str, Leaf]]:
    """Draws `count` numbers of datasets, of every kind at least one, without those that are taken on trust.

    Raises:
      SystemExit: there are more kinds than that.
    """
    claimed: list[tuple[str, Leaf]] = []
    for recipe, dataset in datasets.items():
        assert verify(str(dataset)) == [], recipe
        trusted = taken_on_trust(manifest.read(str(dataset)))
        claimed += [(recipe, leaf) for leaf in leaves(dataset) if not is_trusted(leaf.name, trusted)]
    draw.shuffle(claimed)
    first = {leaf.kind: (recipe, leaf) for recipe, leaf in claimed}
    if count < len(first):
        sys.exit(f"there are {len(first)} kinds of numbers: --count must be that or more")
    # Tables have most of the numbers; so one file of a dataset is drawn first, and then one of its numbers.
    by_file: dict[tuple[str, str], list[tuple[str, Leaf]]] = {}
    for recipe, leaf in claimed:
        by_file.setdefault((recipe, leaf.file.split("/")[0]), []).append((recipe, leaf))
    groups = [by_file[name] for name in sorted(by_file)]
    return [*first.values(), *(draw.choice(draw.choice(groups)) for _ in range(count - len(first)))]


def try_edit(dataset: pathlib.Path, leaf: Leaf, draw: random.Random) -> str | None:
    """Edits a number in a copy of a dataset; gives what was edited if `verify` did not find it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "dataset"
        shutil.copytree(dataset, copy)
        before, after = edit(copy, leaf, draw)
        return None if verify(str(copy)) else f"{leaf.name} {leaf.path[1:] if leaf.file.startswith('prov') else ''} {before} -> {after}"


if __name__ == "__main__":
    sys.exit(main())

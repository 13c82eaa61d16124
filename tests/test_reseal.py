"""`tokenreel verify` finds edits of any number that it does not say it takes on trust, however well they are sealed.

The thousand of `python -m tests.reseal --count 1000` take minutes; here every number of one small dataset is edited, and some of another.
"""

from __future__ import annotations

import pathlib
import random

import pytest

from pipelines import cli
from tests import verification_datasets
from tests.reseal import recipes
from tests.reseal.__main__ import choose, try_edit
from tests.reseal.edits import edit, leaves
from tokenreel.errors import ManifestError
from tokenreel.format import manifest
from tokenreel.inspection.trust import is_trusted, taken_on_trust
from tokenreel.inspection.verification import verify


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    directory = tmp_path_factory.mktemp("reseal")
    recipes.write_corpus(directory)
    return directory


def test_every_number_of_a_dataset_is_found_or_taken_on_trust(tmp_path: pathlib.Path) -> None:
    dataset = tmp_path / "dataset"
    verification_datasets.make(dataset, documents={"train": 4}, seq_len=64, overlap=1, dead_letters=2)
    trusted, draw = taken_on_trust(manifest.read(str(dataset))), random.Random(0)
    every = leaves(dataset)
    assert {leaf.file.split("/")[0] for leaf in every} == {"statistics.json", "manifest.json", "provenance"}
    missed = {leaf: try_edit(dataset, leaf, draw) for leaf in every if not is_trusted(leaf.name, trusted)}
    assert len(missed) > 100 and [line for line in missed.values() if line is not None] == []


@pytest.mark.parametrize("recipe", ["pairs", "ul2_packed", "two_sources"])
def test_edits_of_a_build_are_found(corpus: pathlib.Path, recipe: str) -> None:
    dataset, draw = recipes.build(recipe, corpus), random.Random(1)
    chosen = choose({recipe: dataset}, 140, draw)[-20:]  # those of every kind come first, and the command tries them
    assert [line for _, leaf in chosen if (line := try_edit(dataset, leaf, draw)) is not None] == []


def test_what_is_taken_on_trust_is_short_printed_and_true(corpus: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset, draw = recipes.build("filtered", corpus), random.Random(2)
    capsys.readouterr()
    assert cli.main(["verify", str(dataset)]) == 0
    printed = [
        line.removeprefix("taken on trust: ") for line in capsys.readouterr().out.splitlines() if line.startswith("taken on trust: ")
    ]
    trusted = taken_on_trust(manifest.read(str(dataset)))
    assert printed == [each.what for each in trusted] and len(printed) <= 5
    # Numbers that nothing is compared with: an edit of them goes unseen, or they would not be on the list.
    names = ("modified", "characters_removed", "totals.inputs.text.bytes", "manifest.json: seed")
    unseen = [leaf for leaf in leaves(dataset) if is_trusted(leaf.name, trusted) and leaf.name.endswith(names)]
    assert len(unseen) >= len(names)
    for leaf in unseen:
        path = corpus / f"copy-{leaf.path[-1]}"
        assert try_edit(dataset, leaf, _Up(draw.random())) is not None, (leaf, path)


class _Up(random.Random):
    """Draws the first of several choices, which is a number one larger: what is below 0 is found even where nothing is compared."""

    def choice(self, seq):  # type: ignore[no-untyped-def]
        return seq[0]


def test_a_sealed_edit_passes_every_checksum(tmp_path: pathlib.Path) -> None:
    """Only the number itself is wrong: the manifest loads, and sizes and CRCs fit."""
    dataset = tmp_path / "dataset"
    verification_datasets.make(dataset, documents={"train": 5})
    leaf = next(leaf for leaf in leaves(dataset) if leaf.name == "statistics.json: splits.train.cut_documents")
    before, after = edit(dataset, leaf, random.Random(0))
    found = verify(str(dataset))
    assert before != after and found and all("statistics.json: split train: cut_documents is" in line for line in found)
    total = next(leaf for leaf in leaves(dataset) if leaf.path == ("totals", "tokens_written"))
    edit(dataset, total, random.Random(0))
    try:
        manifest.read(str(dataset))
    except ManifestError as error:
        pytest.fail(str(error))

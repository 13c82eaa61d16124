"""Datasets that were built once stay usable, and a build of today still makes them.

Each folder of `tests/golden/datasets` holds a small dataset of every recipe, written when builds last changed on purpose, and what was
known of it then. Trainers have such datasets, and states of runs that are half finished; caches hold stage files under the names that are
pinned here. A test that fails says that one of these would be lost. CONTRIBUTING.md says what to do. `v3.1` holds what the software of v3
made of a `tokenizer.json`, which it had no dataset of.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq
import pytest

import tokenreel
from pipelines import cli
from tests import buckets
from tests.golden import builds, make_datasets

VERSIONS = sorted((path.name for path in builds.DATASETS.iterdir()), key=lambda name: float(name.removeprefix("v")))
NEWEST = builds.DATASETS / VERSIONS[-1]
EXPECTED = {version: json.loads((builds.DATASETS / version / builds.EXPECTED).read_text()) for version in VERSIONS}
ALL = [(version, recipe) for version in VERSIONS for recipe in EXPECTED[version]["recipes"]]
LATEST = EXPECTED[VERSIONS[-1]]


@pytest.fixture(scope="module")
def server() -> Iterator[buckets.Server]:
    with buckets.server() as state:
        builds.upload(state)
        yield state


def test_every_recipe_is_pinned():
    assert sorted(LATEST["recipes"]) == builds.recipes()
    for version, recipe in ALL:
        manifest = tokenreel.load(builds.DATASETS / version / recipe).manifest
        assert set(manifest.splits) == {"train", "validation"}
        assert len(manifest.splits["train"].shards) >= 2
        assert any(name.startswith("provenance/") for name in builds.files_of(builds.DATASETS / version / recipe))


@pytest.mark.parametrize(("version", "recipe"), ALL)
def test_datasets_are_sound_and_keep_their_fingerprint(version: str, recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    directory = builds.DATASETS / version / recipe
    fingerprint = EXPECTED[version]["recipes"][recipe]["fingerprint"]
    for split in ("train", "validation"):
        dataset = tokenreel.load(directory, split, crc="always", verify="full", fingerprint=fingerprint)
        assert dataset.take(range(len(dataset)))["example_id"].tolist() == list(range(len(dataset)))
    assert cli.main(["verify", str(directory)]) == 0
    printed = capsys.readouterr().out
    assert f"{directory}: sound." in printed
    assert f"fingerprint: {fingerprint}" in printed


@pytest.mark.parametrize(("version", "recipe"), ALL)
def test_saved_states_resume_with_the_batches_that_followed(version: str, recipe: str) -> None:
    directory = builds.DATASETS / version / recipe
    for name, run in EXPECTED[version]["recipes"][recipe]["runs"].items():
        for saved in run["states"]:
            assert builds.replay(directory, run["arguments"], saved["state"]) == saved["batches"], name


@pytest.mark.parametrize("recipe", LATEST["recipes"])
def test_runs_save_the_states_that_they_saved(recipe: str) -> None:
    for name, run in LATEST["recipes"][recipe]["runs"].items():
        assert builds.states(NEWEST / recipe, run["arguments"]) == [saved["state"] for saved in run["states"]], name


@pytest.mark.parametrize("recipe", LATEST["recipes"])
def test_builds_make_the_same_files(recipe: str, server: buckets.Server, tmp_path: pathlib.Path) -> None:
    pinned, built = LATEST["recipes"][recipe], tmp_path / recipe
    stage_files = builds.build(recipe, pinned["settings"], built)
    assert stage_files == pinned["stage_files"]
    same_libraries = builds.libraries() == LATEST["written_with"]
    names = list(builds.files_of(built))
    assert names == list(builds.files_of(NEWEST / recipe))
    for name in names:
        old, new = NEWEST / recipe / name, built / name
        if name == "manifest.json":
            assert without_releases(new) == without_releases(old)
            assert not same_libraries or json.loads(new.read_text())["files"] == json.loads(old.read_text())["files"]
        elif name.endswith(".parquet") and not same_libraries:
            # Arrow writes its release into the file: all that 23.0.1 and 25.0.1 write differently here.
            assert pq.read_table(new).equals(pq.read_table(old)), name
        else:
            assert new.read_bytes() == old.read_bytes(), name

    for version, other in EXPECTED.items():
        older = other["recipes"].get(recipe)
        if older and _same_settings(older, pinned):
            before, now = (tokenreel.load(path).manifest for path in (builds.DATASETS / version / recipe, built))
            if before.algorithms == now.algorithms:
                assert now.fingerprint == older["fingerprint"], f"no algorithm has another version than in {version}"


def _same_settings(older: Any, pinned: Any) -> bool:
    """Whether two versions of a recipe ask for the same dataset; the comments of a config and its paths may differ."""
    one, other = ((version["shipped"]["semantics"], version["settings"]) for version in (older, pinned))
    return bool(one == other)


def without_releases(path: pathlib.Path) -> dict[str, Any]:
    """The manifest, without what says or depends on which releases of libraries wrote the dataset."""
    manifest: dict[str, Any] = json.loads(path.read_text())
    manifest["files"] = [info for info in manifest["files"] if not info["file"].endswith(".parquet")]
    return {name: value for name, value in manifest.items() if name not in ("manifest_digest", "tokenreel_version")}


@pytest.mark.parametrize("recipe", LATEST["recipes"])
def test_settings_mean_what_they_meant(recipe: str) -> None:
    """A new setting at its default is absent from the manifest and from every digest, so that nothing which exists changes its name."""
    pinned = LATEST["recipes"][recipe]
    assert builds.shipped(recipe) == pinned["shipped"]
    assert builds.digest_of_build(recipe, pinned["settings"]) == pinned["build"]


def test_versions_are_never_overwritten(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["make_datasets", VERSIONS[-1]])
    with pytest.raises(SystemExit):
        make_datasets.main()
    assert "is there already" in capsys.readouterr().err

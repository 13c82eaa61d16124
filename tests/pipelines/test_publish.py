"""`tokenreel publish`, and what takes the pointer that it writes: `load`, saved states, and the commands that read datasets."""

from __future__ import annotations

import json
import pathlib
import shutil

import pytest

import tokenreel
from pipelines import cli
from tests import buckets
from tests.datasets import random_examples, write_dataset
from tokenreel.errors import ManifestError
from tokenreel.loaders import Batches
from tokenreel.storage import files

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Two datasets, of one date and the next."""
    folder = tmp_path_factory.mktemp("published")
    for day in (1, 2):
        write_dataset(folder / f"2026-11-0{day}-aaaaaaaa", {"train": random_examples(40, 16, seed=day)})
    return folder


@pytest.fixture
def root(made: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(made, tmp_path / "books"))


def publish(root: pathlib.Path | str, day: int, *arguments: str) -> int:
    root = str(root)
    return cli.main(["publish", f"{root}/2026-11-0{day}-aaaaaaaa", f"{root}/latest.json", "--date", f"2026-11-0{day}", *arguments])


def test_load_takes_a_pointer_and_reads_it_once(root: pathlib.Path, capsys: Capture) -> None:
    assert publish(root, 1) == 0
    dataset = tokenreel.load(root / "latest.json")
    assert publish(root, 2) == 0 and publish(root, 1) == 0
    assert "stays, for it names" in capsys.readouterr().out
    assert dataset.path == str(root / "2026-11-01-aaaaaaaa")
    assert next(iter(dataset.batches(4, seed=0))) is not None
    assert tokenreel.load(root / "latest.json").path == str(root / "2026-11-02-aaaaaaaa")
    assert publish(root, 1, "--back") == 0
    assert tokenreel.load(root / "latest.json").path == dataset.path


def test_a_state_saved_before_a_move_names_the_old_path(root: pathlib.Path) -> None:
    def run(path: pathlib.Path) -> Batches:
        return tokenreel.load(path).batches(4, seed=0)

    publish(root, 1)
    before = run(root / "latest.json")
    next(before)
    state = json.loads(json.dumps(before.get_state()))
    publish(root, 2)
    old = root / "2026-11-01-aaaaaaaa"
    with pytest.raises(ManifestError, match=rf"latest\.json has moved: when the state was saved it named {old}; give that path to go on"):
        run(root / "latest.json").set_state(state)
    resumed = run(old)
    resumed.set_state(state)
    assert (next(resumed)["tokens"] == next(before)["tokens"]).all()
    wanted = tokenreel.load(old).manifest.fingerprint
    with pytest.raises(ManifestError, match=rf"Give the path of the right one, {old}"):
        tokenreel.load(root / "latest.json", fingerprint=wanted)


def test_a_dataset_that_was_built_again_is_refused(root: pathlib.Path) -> None:
    publish(root, 1)
    shutil.rmtree(root / "2026-11-01-aaaaaaaa")
    (root / "2026-11-02-aaaaaaaa").rename(root / "2026-11-01-aaaaaaaa")
    with pytest.raises(ManifestError, match="built again after it was published"):
        tokenreel.load(root / "latest.json")


def test_what_is_not_whole_is_not_published(root: pathlib.Path, capsys: Capture) -> None:
    publish(root, 1)
    next((root / "2026-11-02-aaaaaaaa").glob("train.*")).unlink()
    assert publish(root, 2) == 1
    assert "not published" in capsys.readouterr().err
    assert cli.main(["publish", str(root / "nothing"), str(root / "latest.json")]) == 2
    assert tokenreel.load(root / "latest.json").path.endswith("2026-11-01-aaaaaaaa")


@pytest.mark.parametrize(
    "command",
    [
        ["verify", "--quick"],
        ["verify", "--runner=DirectRunner"],
        ["inspect"],
        ["status"],
        ["when", "--batch-size=4", "--example=0", "--epochs=1"],
    ],
)
def test_commands_take_a_pointer(root: pathlib.Path, capsys: Capture, command: list[str]) -> None:
    publish(root, 1)
    assert cli.main([command[0], str(root / "latest.json"), *command[1:]]) in (0, 1)
    told = capsys.readouterr()
    assert "error" not in told.err
    cli.main(["report", str(root / "latest.json")])
    assert "2026-11-01-aaaaaaaa/statistics.json" in capsys.readouterr().err  # which these small datasets lack
    assert cli.main([command[0], str(root / "other.json"), *command[1:]]) == 2
    assert "no such file" in capsys.readouterr().err


def test_in_a_bucket(root: pathlib.Path) -> None:
    with buckets.server():
        remote = f"gs://{buckets.BUCKET}/books"
        buckets.upload(root, remote)
        assert publish(remote, 2) == 0 and publish(remote, 1) == 0
        dataset = tokenreel.load(f"{remote}/latest.json")
        assert dataset.path == f"{remote}/2026-11-02-aaaaaaaa"
        assert json.loads(files.read_bytes(f"{remote}/latest.json"))["dataset"] == "2026-11-02-aaaaaaaa"

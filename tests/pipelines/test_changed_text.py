"""A finished dataset is complete for the text that it was made of, wherever that lies and whatever its times, and for no other."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil

import pytest

from pipelines import cli
from tests import buckets
from tests.conftest import tree_digest
from tokenreel.assembly import remembered_inputs
from tokenreel.format import manifest
from tokenreel.storage import files, gcs

Capture = pytest.CaptureFixture[str]
CONFIG = """
output: dataset
sources: [{name: docs, files: [text]}]
vocabulary: {kind: bytes}
packing: {seq_len: 64}
shards: {examples: 40}
execution: {block_mb: 0.004}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A config, its text, and the dataset."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "text/deep").mkdir(parents=True)
    for name in ("a", "b", "deep/c"):
        (folder / f"text/{name}.jsonl").write_text("".join(f'{{"text": "document {i} of {name}"}}\n' for i in range(150)))
    (folder / "text/empty.jsonl").write_text("")
    (folder / "config.yaml").write_text(CONFIG)
    assert build(folder) == 0
    return folder


@pytest.fixture
def place(made: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy that a test may change; nothing but contents is known of it."""
    shutil.copytree(made, tmp_path / "place", ignore=lambda _, names: [name for name in names if name.startswith(".")])
    return tmp_path / "place"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose contents are read to compare them."""
    names: list[str] = []
    checksum = files.checksum

    def noted(path: str) -> tuple[int, int] | None:
        names.append(os.path.basename(path))
        return checksum(path)

    monkeypatch.setattr(files, "checksum", noted)
    return names


def build(place: pathlib.Path, *arguments: str) -> int:
    return cli.main(["build", str(place / "config.yaml"), "--direct_num_workers=1", *arguments])


def edit(path: pathlib.Path) -> None:
    """Other text of the same size, under the old date."""
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b"document 7 of", b"document 8 of"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def test_text_that_was_edited_in_place_is_not_complete(made: pathlib.Path, place: pathlib.Path, capsys: Capture) -> None:
    assert build(place) == 0
    edit(place / "text/b.jsonl")
    for arguments in ([], ["--recheck"]):
        assert build(place, *arguments) == 1
        assert "holds a finished dataset of other text: docs: b.jsonl changed since it was built" in capsys.readouterr().err
    assert build(place, "--overwrite") == 0
    assert build(place) == 0
    assert "is complete already" in capsys.readouterr().err
    assert build(place, "--output", str(place / "fresh")) == 0
    assert tree_digest(place / "dataset") == tree_digest(place / "fresh") != tree_digest(made / "dataset")


def test_contents_alone_are_compared_where_nothing_is_remembered(place: pathlib.Path, read: list[str], capsys: Capture) -> None:
    """A copy of the text and of the dataset: every file is read once, and then remembered."""
    everything = ["a.jsonl", "b.jsonl", "c.jsonl"]
    assert build(place) == 0
    assert "is complete already" in capsys.readouterr().err and sorted(read) == everything
    read.clear()
    assert build(place) == 0
    assert not read
    os.utime(place / "text/a.jsonl")
    assert build(place) == 0
    assert read == ["a.jsonl"], "one that was touched is compared"
    read.clear()
    memory = pathlib.Path(str(remembered_inputs.path_of(str(place / "dataset"))))
    assert memory.parent == place, "it is no part of the dataset"
    memory.write_bytes(memory.read_bytes().replace(b"a.jsonl", b"x.jsonl"))
    assert build(place) == 0
    assert sorted(read) == everything, "what is damaged is as if there were nothing"
    memory.unlink()
    edit(place / "text/a.jsonl")
    assert build(place) == 1
    assert "docs: one of its 4 files changed since it was built" in capsys.readouterr().err


def test_what_no_time_tells_is_found_on_request(place: pathlib.Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered_inputs, "_seen", lambda file: (file.name, file.size, 0, 0))  # a file system that keeps no times
    fresh = ["--output", str(place / "fresh")]
    assert build(place, *fresh) == 0
    edit(place / "text/a.jsonl")
    assert build(place, *fresh) == 0
    assert "is complete already" in capsys.readouterr().err
    assert build(place, *fresh, "--recheck") == 1
    assert "docs: a.jsonl changed since it was built" in capsys.readouterr().err


def test_a_disk_a_copy_and_a_bucket_give_the_same_dataset(
    made: pathlib.Path, place: pathlib.Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcs, "FIRST_DELAY", 0.01)
    assert build(place, "--output", str(place / "copy"), "--set", "execution.block_mb=0.01") == 0
    assert tree_digest(place / "copy") == tree_digest(made / "dataset")
    with buckets.storage() as bucket:
        buckets.upload(place / "text", f"{bucket}/text")
        assert build(place, "--input", f"{bucket}/text", "--output", f"{bucket}/dataset") == 0
        for name in tree_digest(made / "dataset"):
            assert files.read_bytes(f"{bucket}/dataset/{name}") == (made / "dataset" / name).read_bytes(), name
        capsys.readouterr()
        assert build(place, "--output", f"{bucket}/dataset") == 0  # from the disk again
        assert build(place, "--input", f"{bucket}/text") == 0
        assert capsys.readouterr().err.count("is complete already") == 2
        data = files.read_bytes(f"{bucket}/text/b.jsonl").replace(b"document 7 of", b"document 8 of")
        files.write_bytes(f"{bucket}/text/b.jsonl", data)
        assert build(place, "--input", f"{bucket}/text", "--output", f"{bucket}/dataset") == 1
        assert "docs: b.jsonl changed since it was built" in capsys.readouterr().err


def test_a_damaged_manifest_is_made_again_by_the_build_that_wrote_it(made: pathlib.Path, place: pathlib.Path, capsys: Capture) -> None:
    path = place / "dataset/manifest.json"
    path.write_bytes(path.read_bytes()[:-9])
    assert build(place) == 1
    assert "Add --overwrite to replace it" in capsys.readouterr().err, "nobody knows whose it is"
    assert build(place, "--overwrite") == 0
    path.write_bytes(path.read_bytes()[:-9])
    assert build(place) == 0
    assert "manifest.json: damaged; the dataset is made again" in capsys.readouterr().err
    assert tree_digest(place / "dataset") == tree_digest(made / "dataset")


def test_manifests_without_contents_are_complete_by_names_and_sizes(place: pathlib.Path, capsys: Capture) -> None:
    """Releases before this wrote them."""
    found = manifest.read(str(place / "dataset"))
    inputs = {"docs": {name: value for name, value in found.totals["inputs"]["docs"].items() if name != "content"}}
    assert set(inputs["docs"]) == {"bytes", "digest", "files"}
    older = dataclasses.replace(found, totals={**found.totals, "inputs": inputs})
    assert older.fingerprint == found.fingerprint
    (place / "dataset/manifest.json").write_text(older.to_text())
    assert build(place, "--recheck") == 0
    assert "is complete already" in capsys.readouterr().err

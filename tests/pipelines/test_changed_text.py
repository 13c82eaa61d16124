"""A finished dataset is complete for the text that it was made of, wherever that lies and whatever its times, and for no other."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import random
import shutil
import tarfile
import zipfile

import pytest

from pipelines import cli
from tests import buckets, lies
from tests.conftest import tree_digest
from tokenreel.assembly import remembered_inputs
from tokenreel.format import manifest
from tokenreel.sources import reading
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


def pack(text: pathlib.Path) -> None:
    """Puts the files of a folder into two archives, beside which none is left."""
    paths = [path for path in sorted(text.rglob("*.jsonl")) if path.stat().st_size]
    with zipfile.ZipFile(text / "in.zip", "w") as packed, tarfile.open(text / "in.tar.gz", "w:gz") as streamed:
        for number, path in enumerate(paths):
            name = path.relative_to(text).as_posix()
            packed.write(path, name, zipfile.ZIP_DEFLATED if number else zipfile.ZIP_STORED)
            streamed.add(path, f"tar/{name}")
    for path in text.rglob("*.jsonl"):
        path.unlink()


def alter(server: buckets.Server, name: str, wanted: int) -> list[str]:
    """Has a bit flipped in one of the answers with bytes of an object, the first or a later one; gives what was asked for then."""
    asked: list[str] = []
    altered: list[str] = []

    def distort(number: int, method: str, path: str) -> lies.Lie | None:
        if name not in path or "alt=media" not in path:
            return None
        asked.append(path)
        if len(asked) != wanted:
            return None
        altered.append(path)
        return lies.flip(random.Random(wanted))

    server.distort = distort
    return altered


@pytest.mark.parametrize("whole_bytes", [None, pytest.param(100, marks=pytest.mark.slow)], ids=["read whole", "read twice"])
def test_archives_in_a_bucket_are_compared_with_what_it_says(
    place: pathlib.Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, whole_bytes: int | None
) -> None:
    """Whichever answer with bytes of the zip is altered on its way: the dataset is that of the disk, and `--recheck` finds it complete."""
    monkeypatch.setattr(gcs, "FIRST_DELAY", 0.001)
    if whole_bytes is not None:
        monkeypatch.setattr(reading, "_WHOLE_BYTES", whole_bytes)
    pack(place / "text")
    assert build(place, "--output", str(place / "packed")) == 0
    expected = {name: (place / "packed" / name).read_bytes() for name in tree_digest(place / "packed")}
    with buckets.server() as server:
        bucket = f"gs://{buckets.BUCKET}"
        buckets.upload(place / "text", f"{bucket}/text")
        for wanted in (1, 2) if whole_bytes is None else (1, 2, 4):
            arguments = ["--input", f"{bucket}/text", "--output", f"{bucket}/dataset{wanted}"]
            altered = alter(server, "in.zip", wanted)
            code = build(place, *arguments)
            server.calm()
            assert altered and (code == 0 or build(place, *arguments) == 0), capsys.readouterr().err
            assert {name: files.read_bytes(f"{bucket}/dataset{wanted}/{name}") for name in expected} == expected
        capsys.readouterr()
        assert build(place, *arguments, "--recheck") == 0
        assert "is complete already" in capsys.readouterr().err
        data = files.read_bytes(f"{bucket}/text/in.zip").replace(b"document 7 of", b"document 8 of", 1)
        files.write_bytes(f"{bucket}/text/in.zip", data)
        assert build(place, *arguments, "--recheck") == 1
        assert "docs: in.zip changed since it was built" in capsys.readouterr().err


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

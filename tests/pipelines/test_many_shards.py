"""Datasets of so many shards that the manifest has a table of them beside it (`format/shard_table.py`)."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import numpy as np
import pytest

import tokenreel
from pipelines import cli
from tests import buckets
from tests.conftest import tree_digest
from tokenreel.errors import ManifestError
from tokenreel.format import manifest, naming

WriteConfig = Callable[..., str]


@pytest.fixture
def tabled(write_config: WriteConfig, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, pathlib.Path]:
    """A config, and its dataset with a table."""
    config = write_config(shards={"examples": 64})
    monkeypatch.setattr(manifest, "LISTED_SHARDS", 5)
    assert cli.main(["build", config, "--output", str(tmp_path / "table"), "--direct_num_workers=1"]) == 0
    return config, tmp_path / "table"


def test_a_dataset_with_a_table_is_used_like_any(
    tabled: tuple[str, pathlib.Path], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (config, dataset), listed = tabled, tmp_path / "list"
    monkeypatch.setattr(manifest, "LISTED_SHARDS", 1 << 40)
    assert cli.main(["build", config, "--output", str(listed), "--direct_num_workers=1"]) == 0
    one, other = manifest.read(str(listed)), manifest.read(str(dataset))
    assert (one.format_version, other.format_version) == (1, 2) and len(other.splits["train"].shards) > 5
    files, more = tree_digest(listed), tree_digest(dataset)
    assert set(more) - set(files) == {naming.SHARD_TABLE}
    assert {name for name in files if files[name] != more[name]} == {naming.MANIFEST}
    for first, second in zip(
        tokenreel.load(listed).batches(8, seed=1, epochs=1), tokenreel.load(dataset).batches(8, seed=1, epochs=1), strict=True
    ):
        assert all(np.array_equal(first[name], second[name]) for name in first)
    assert cli.main(["verify", str(dataset)]) == 0
    monkeypatch.setattr(manifest, "LISTED_SHARDS", 5)
    capsys.readouterr()
    assert cli.main(["build", config, "--output", str(dataset), "--direct_num_workers=1", "--recheck"]) == 0
    assert "is complete already" in capsys.readouterr().err


def test_what_is_wrong_with_a_table_is_told(tabled: tuple[str, pathlib.Path], capsys: pytest.CaptureFixture[str]) -> None:
    config, dataset = tabled
    data = (dataset / naming.SHARD_TABLE).read_bytes()
    (dataset / naming.SHARD_TABLE).write_bytes(data[:-8] + bytes(8))
    with pytest.raises(ManifestError, match=r"shards\.npy does not match its digest"):
        tokenreel.load(dataset)
    (dataset / naming.SHARD_TABLE).unlink()
    with pytest.raises(ManifestError, match=r"shards\.npy, which lists the shards, is missing"):
        tokenreel.load(dataset)
    assert cli.main(["verify", str(dataset)]) == 1
    assert cli.main(["build", config, "--output", str(dataset), "--direct_num_workers=1", "--overwrite"]) == 0
    assert (dataset / naming.SHARD_TABLE).read_bytes() == data
    shard = dataset / manifest.read(str(dataset)).splits["train"].shards[3].file
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ManifestError, match=shard.name):
        tokenreel.load(dataset)


def test_a_bucket_is_listed_once(tabled: tuple[str, pathlib.Path]) -> None:
    """A request for each page of objects, which in a bucket are a thousand."""
    _, dataset = tabled
    objects = len(tree_digest(dataset))
    with buckets.server() as server:
        server.page = 10
        buckets.upload(dataset, f"gs://{buckets.BUCKET}/many")
        server.log.clear()
        tokenreel.load(f"gs://{buckets.BUCKET}/many")
        listings = [path for method, path in server.log if method == "GET" and "/o?" in path]
    assert len(listings) == -(-objects // server.page) > 1

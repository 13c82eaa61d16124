import argparse

import pytest

from tests import buckets
from tests import verification_datasets as datasets
from tests.tokenreel.inspection.conftest import SHARD, flip
from tokenreel.commands import verify as verification


@pytest.fixture
def dataset(tmp_path):
    datasets.make(tmp_path / "dataset", overlap=1, dead_letters=3)
    return tmp_path / "dataset"


def run(*argv):
    parser = argparse.ArgumentParser()
    verification.add_arguments(parser)
    return verification.run(parser.parse_args([str(argument) for argument in argv]))


def test_the_command_lists_and_counts(dataset, capsys):
    assert run(dataset) == 0
    assert "sound. 174 records in 19 shards" in capsys.readouterr().out
    assert run(dataset, "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    flip(dataset / SHARD, 700, 1)
    (dataset / "notes.txt").write_text("")
    assert run(dataset) == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 3
    assert captured.err.endswith("dataset: 3 differences\n")


def test_what_an_optional_package_is_needed_for_is_said(dataset, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert run(dataset) == 0
    assert "provenance/train-00000-of-00016.parquet: not compared with the records" in capsys.readouterr().err


def test_quick_reads_no_file(dataset, capsys, monkeypatch):
    """Names and sizes of all files; a flipped bit on a disk is nothing that a listing tells."""
    flip(dataset / SHARD, 700, 1)
    assert run(dataset, "--quick") == 0
    assert "no file was read" in capsys.readouterr().out
    (dataset / SHARD).write_bytes((dataset / SHARD).read_bytes()[:-1])
    (dataset / "notes.txt").write_text("")
    (dataset / "statistics.json").unlink()
    assert run(dataset, "--quick") == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [SHARD, "statistics.json", "notes.txt"]
    (dataset / "manifest.json").unlink()
    assert run(dataset, "--quick") == 1


def test_quick_in_a_bucket_compares_its_checksums_in_one_listing(dataset, capsys):
    with buckets.server() as server:
        folder = f"gs://{buckets.BUCKET}/dataset"
        buckets.upload(dataset, folder)
        server.log.clear()
        assert run(folder, "--quick") == 0
        assert len([path for _, path in server.log if "/o?" in path]) == 1
        assert not [path for _, path in server.log if "tfrecord" in path]
        flip(dataset / SHARD, 700, 1)
        buckets.upload(dataset, folder)
        capsys.readouterr()
        assert run(folder, "--quick") == 1
        (line,) = capsys.readouterr().out.splitlines()
        assert line.startswith(f"{SHARD}: crc32c is 0x")

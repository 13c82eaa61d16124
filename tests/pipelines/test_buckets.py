"""Builds that read from, write to and stage in a bucket: the bytes of a local build, whatever the service does."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from pipelines import cli
from tests import buckets
from tests.conftest import tree_digest
from tokenreel.format import naming
from tokenreel.loaders import load
from tokenreel.storage import files, gcs, locking

WriteConfig = Callable[..., str]
SHARDS = r"\.stage/\w+/shards/train\..*\.json"  # where shards that are finished are noted
REMOTE = f"gs://{buckets.BUCKET}"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcs, "FIRST_DELAY", 0.01)


@pytest.fixture
def server() -> Iterator[buckets.Server]:
    with buckets.server() as state:
        yield state


@pytest.fixture
def remote_corpus(server: buckets.Server, corpus: pathlib.Path) -> str:
    buckets.upload(corpus, f"{REMOTE}/corpus")
    return f"{REMOTE}/corpus"


def source(directory: object) -> list[dict[str, object]]:
    return [{"name": "docs", "files": [str(directory)], "metadata_fields": ["number"]}]


def run(config: str, directory: str, *arguments: str) -> int:
    return cli.main(["build", config, "--output", directory, "--direct_num_workers=1", "--set", "execution.block_mb=0.03", *arguments])


def digest(address: str, directory: pathlib.Path) -> dict[str, str]:
    buckets.download(address, directory)
    return tree_digest(directory)


_REFERENCE: dict[str, str] = {}


@pytest.fixture
def reference(write_config: WriteConfig, tmp_path: pathlib.Path) -> dict[str, str]:
    """The files of a local build, made once."""
    if not _REFERENCE:
        assert run(write_config("reference.yaml"), str(tmp_path / "reference")) == 0
        _REFERENCE.update(tree_digest(tmp_path / "reference"))
    return _REFERENCE


@pytest.mark.parametrize(
    ("text", "dataset", "stage"),
    [
        ("remote", "remote", "remote"),
        pytest.param("remote", "remote", "inside", marks=pytest.mark.slow),
        pytest.param("remote", "local", "inside", marks=pytest.mark.slow),
        ("local", "remote", "local"),
        pytest.param("local", "local", "remote", marks=pytest.mark.slow),
    ],
)
def test_where_things_lie_changes_no_byte(
    server: buckets.Server,
    remote_corpus: str,
    corpus: pathlib.Path,
    reference: dict[str, str],
    write_config: WriteConfig,
    tmp_path: pathlib.Path,
    text: str,
    dataset: str,
    stage: str,
) -> None:
    directory = f"{REMOTE}/dataset" if dataset == "remote" else str(tmp_path / "dataset")
    places = {"inside": None, "local": str(tmp_path / "stage"), "remote": f"{REMOTE}/stage"}
    config = write_config(sources=source(remote_corpus if text == "remote" else corpus), execution={"stage": places[stage]})
    assert run(config, directory) == 0
    found = digest(directory, tmp_path / "copy") if dataset == "remote" else tree_digest(directory)
    assert found == reference
    kept = files.list_files(places[stage] or files.join(directory, naming.STAGE))
    assert bool(kept) == (stage != "inside")
    assert cli.main(["verify", directory, "--quiet"]) == 0


def test_the_loader_and_the_commands_read_what_was_built(
    server: buckets.Server, remote_corpus: str, write_config: WriteConfig, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(sources=source(remote_corpus))
    assert run(config, f"{REMOTE}/dataset") == 0
    assert run(config, str(tmp_path / "local")) == 0
    options = {"seed": 3, "epochs": 1, "drop_remainder": False}
    for near, far in zip(
        load(str(tmp_path / "local")).batches(32, **options), load(f"{REMOTE}/dataset").batches(32, **options), strict=True
    ):
        assert np.array_equal(near["tokens"], far["tokens"])
    capsys.readouterr()
    assert cli.main(["inspect", f"{REMOTE}/dataset", "--provenance"]) == 0
    assert "docs" in capsys.readouterr().out
    assert cli.main(["report", f"{REMOTE}/dataset"]) == 0
    assert files.size(f"{REMOTE}/dataset/{naming.REPORT}")
    assert run(config, f"{REMOTE}/dataset") == 0  # complete already
    assert "is complete already" in capsys.readouterr().err


def test_failing_requests_and_small_pages_change_nothing(
    server: buckets.Server, remote_corpus: str, reference: dict[str, str], write_config: WriteConfig, tmp_path: pathlib.Path
) -> None:
    server.page = 3
    server.every(5, 503, 429, buckets.DROP, 500)
    assert run(write_config(sources=source(remote_corpus)), f"{REMOTE}/dataset") == 0
    server.calm()
    assert digest(f"{REMOTE}/dataset", tmp_path / "copy") == reference


def start(config: str, directory: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pipelines.build", config, "--output", directory, "--set", "execution.block_mb=0.03"]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    return subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.mark.parametrize("mode", ["multi_threading", pytest.param("multi_processing", marks=pytest.mark.slow)])
def test_workers_that_repeat_each_other_change_nothing(
    server: buckets.Server,
    remote_corpus: str,
    reference: dict[str, str],
    write_config: WriteConfig,
    tmp_path: pathlib.Path,
    capfd: pytest.CaptureFixture[str],
    mode: str,
) -> None:
    config = write_config(sources=source(remote_corpus))
    arguments = [f"--direct_running_mode={mode}", "--direct_num_workers=3", "--direct_runner_bundle_repeat=1"]
    assert run(config, f"{REMOTE}/dataset", *arguments) == 0
    assert digest(f"{REMOTE}/dataset", tmp_path / "copy") == reference
    assert " stage files: up to " in capfd.readouterr().err


@pytest.mark.parametrize(("pattern", "number"), [pytest.param(r"\.stage/", 8, marks=pytest.mark.slow), (SHARDS, 1)])
def test_a_killed_build_is_simply_run_again(
    server: buckets.Server,
    remote_corpus: str,
    reference: dict[str, str],
    write_config: WriteConfig,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    pattern: str,
    number: int,
) -> None:
    config, directory = write_config(sources=source(remote_corpus)), f"{REMOTE}/killed"
    process = start(config, directory)
    deadline = time.monotonic() + 240
    while sum(re.match(f"killed/{pattern}", name) is not None for name in list(server.storage.objects.get(buckets.BUCKET, {}))) < number:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert files.size(f"{directory}/{locking.LOCK}")  # nobody could release it
    shards = [f"killed/{name}" for name in files.list_files(directory) if "/shards/train." in name]
    written = {name: server.generation(buckets.BUCKET, name) for name in shards}
    placed: dict[str, int] = {}

    def watch(number: int, method: str, path: str) -> int | None:
        source = urllib.parse.unquote(path.partition("/o/")[2].partition("/rewriteTo/")[0])
        if "/rewriteTo/" in path:
            placed[source] = server.generation(buckets.BUCKET, source)
        return None

    server.fail = watch
    assert run(config, directory) == 0  # its process is gone, so its lock is taken over at once
    if pattern == SHARDS:
        assert set(placed.items()) & set(written.items()), "no shard was kept"
    assert digest(directory, tmp_path / "copy") == reference


def test_a_second_build_is_refused_and_the_lock_goes(
    server: buckets.Server, remote_corpus: str, write_config: WriteConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    config, directory = write_config(sources=source(remote_corpus)), f"{REMOTE}/dataset"
    with locking.lock(directory):
        assert run(config, directory) == 1
        message = capsys.readouterr().err
        assert f"process {os.getpid()} on " in message and locking.LOCK in message and "is taken over" in message
    assert files.list_files(directory) == {}
    assert run(config, directory) == 0
    assert locking.LOCK not in files.list_files(directory)


def test_an_object_that_changes_while_it_is_read_is_named(
    server: buckets.Server, remote_corpus: str, write_config: WriteConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    victim = f"{remote_corpus}/plain.jsonl"
    data = files.read_bytes(victim)

    def replace(number: int, method: str, path: str) -> int | None:
        # The first look is over when the lock is there, and the listings when the first block is read in its generation.
        locked = "dataset/.tokenreel.lock" in server.storage.objects[buckets.BUCKET]
        if method == "GET" and "generation=" in path and "corpus" in path and locked and server.requests["replaced"] == 0:
            server.requests["replaced"] += 1
            found = dict(server.storage.objects[buckets.BUCKET]["corpus/plain.jsonl"])
            found["generation"] = str(int(found["generation"]) + 1)
            server.storage.create_file(buckets.BUCKET, "corpus/plain.jsonl", data[::-1], found)
        return None

    server.fail = replace
    assert run(write_config(sources=source(remote_corpus)), f"{REMOTE}/dataset") == 2
    message = capsys.readouterr().err
    assert f"{victim}: changed after it was listed. Run the same command again" in message
    assert files.size(f"{REMOTE}/dataset/{naming.MANIFEST}") is None


def test_a_shard_that_another_build_wrote_is_not_replaced_unseen(
    server: buckets.Server, remote_corpus: str, write_config: WriteConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    name = ""

    def interfere(number: int, method: str, path: str) -> int | None:
        nonlocal name
        looked = re.search(r"/o/(dataset%2F\.stage%2F\w+%2Fshards%2Ftrain\.tfrecord-00001-of-00005\.\w+)$", path.partition("?")[0])
        if method == "GET" and looked:  # the look before the writing
            name = urllib.parse.unquote(looked[1])
        if name and method == "POST" and not server.generation(buckets.BUCKET, name):
            found = dict(server.storage.objects[buckets.BUCKET]["corpus/plain.jsonl"], name=name, size="3", crc32c="AAAAAA==")
            server.storage.create_file(buckets.BUCKET, name, b"abc", found)
        return None

    server.fail = interfere
    assert run(write_config(sources=source(remote_corpus)), f"{REMOTE}/dataset") == 1
    assert "another process wrote other bytes here" in capsys.readouterr().err


def test_a_shard_that_another_job_put_in_place_is_replaced(
    server: buckets.Server, remote_corpus: str, reference: dict[str, str], write_config: WriteConfig, tmp_path: pathlib.Path
) -> None:
    """One that lost the output, between our look and our copy: the output is ours."""
    name = "dataset/train.tfrecord-00001-of-00005"
    shards = 0

    def interfere(number: int, method: str, path: str) -> int | None:
        nonlocal shards
        shards += "/rewriteTo/" in path
        if shards == 1 and not server.generation(buckets.BUCKET, name):
            found = dict(server.storage.objects[buckets.BUCKET]["corpus/plain.jsonl"], name=name, size="3", crc32c="AAAAAA==")
            server.storage.create_file(buckets.BUCKET, name, b"abc", found)
        return None

    server.fail = interfere
    assert run(write_config(sources=source(remote_corpus)), f"{REMOTE}/dataset") == 0
    assert digest(f"{REMOTE}/dataset", tmp_path / "copy") == reference


SECRET = "ya29.c0ASRK0Ga-very_secret"


def test_no_secret_is_kept_or_shown(
    server: buckets.Server,
    corpus: pathlib.Path,
    unigram_model: str,
    write_config: WriteConfig,
    tmp_path: pathlib.Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    place = f"{REMOTE}/corpus/access_token={SECRET}"  # the place of the text, of the vocabulary and of the stage is no part of a dataset
    buckets.upload(corpus, place)
    files.write_bytes(f"{place}/broken.jsonl", b'{"text": "whole"}\n{"text": "no end\n')
    files.write_bytes(f"{REMOTE}/models/access_token={SECRET}/m.model", pathlib.Path(unigram_model).read_bytes())
    config = write_config(
        sources=source(place),
        vocabulary={"path": f"{REMOTE}/models/access_token={SECRET}/m.model"},
        execution={"stage": f"{REMOTE}/stage/access_token={SECRET}"},
    )
    assert run(config, f"{REMOTE}/dataset") == 0
    assert cli.main(["report", f"{REMOTE}/dataset"]) == 0
    for name in files.list_files(f"{REMOTE}/dataset"):
        assert SECRET.encode() not in files.read_bytes(f"{REMOTE}/dataset/{name}"), name
    for name in files.list_files(f"{REMOTE}/stage/access_token={SECRET}"):
        assert SECRET.encode() not in files.read_bytes(f"{REMOTE}/stage/access_token={SECRET}/{name}"), name
    signed = f"https://storage.example/corpus.jsonl?X-Goog-Signature={SECRET}&x=1"
    assert run(write_config("signed.yaml", sources=source(signed)), f"{REMOTE}/other") == 2
    server.fail = lambda number, method, path: 403 if f"access_token={SECRET}" in path or "access_token%3D" in path else None
    assert run(config, f"{REMOTE}/other") == 1
    shown = "".join(capfd.readouterr())
    assert "not allowed to" in shown
    assert SECRET not in shown

"""Killed at any moment and run again with the same command, a build ends with the bytes of an undisturbed one."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import psutil
import pytest

from pipelines import cli, local
from pipelines.local import watchdog
from tests.conftest import tree_digest
from tests.pipelines import soaking
from tests.pipelines.test_determinism import selection
from tokenreel.errors import ManifestError
from tokenreel.format import manifest
from tokenreel.storage import locking

WriteConfig = Callable[..., str]


def start(config: str, directory: pathlib.Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pipelines.build", config, "--output", str(directory), "--set", "execution.block_mb=0.01", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    return subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):  # it was faster
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def wait_for(condition: Callable[[], bool], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def reach(process: subprocess.Popen[bytes], directory: pathlib.Path, pattern: str, number: int) -> None:
    """Waits until a build has written so many files, or has ended."""
    wait_for(lambda: len(list(directory.glob(pattern))) >= number or process.poll() is not None)


@pytest.mark.parametrize(
    ("moment", "pattern", "number"),
    [
        ("tokenizing", ".stage/*.stage", 5),
        ("assembling", ".stage/*/shards/train.*.json", 2),
        ("finishing", ".stage/*/shards/statistics.json.*", 1),
    ],
)
def test_a_killed_build_is_simply_run_again(
    write_config: WriteConfig, tmp_path: pathlib.Path, moment: str, pattern: str, number: int
) -> None:
    config, directory = write_config(), tmp_path / "killed"
    assert cli.main(["build", config, "--output", str(tmp_path / "reference")]) == 0
    for attempt in range(2):
        process = start(config, directory)
        reach(process, directory, pattern, number + attempt)
        time.sleep(random.Random(attempt).random() / 50)
        kill(process)
        if not (directory / "manifest.json").exists():
            with pytest.raises(ManifestError, match="did not finish"):
                manifest.read(str(directory))
    (directory / "train.tfrecord-00000-of-00005.tmp-0123456789ab").write_bytes(b"left by a kill")
    assert cli.main(["build", config, "--output", str(directory)]) == 0
    assert tree_digest(directory) == tree_digest(tmp_path / "reference")


@pytest.mark.parametrize(
    ("unit", "pattern", "number"),
    [
        ("lines", ".stage/*/duplicates/*.hashes", 7),
        ("lines", ".stage/*/duplicates/*.rows", 3),
        ("lines", ".stage/*.stage", 5),
        ("documents", ".stage/*/duplicates/*.rows", 3),
        ("documents", ".stage/*/shards/train.*.json", 2),
    ],
)
def test_what_is_left_out_survives_a_kill(
    write_config: WriteConfig, corpus: pathlib.Path, tmp_path: pathlib.Path, unit: str, pattern: str, number: int
) -> None:
    config, directory = write_config(**selection(corpus, unit)), tmp_path / "killed"
    assert cli.main(["build", config, "--output", str(tmp_path / "reference")]) == 0
    process = start(config, directory)
    reach(process, directory, pattern, number)
    kill(process)
    assert cli.main(["build", config, "--output", str(directory)]) == 0
    assert tree_digest(directory) == tree_digest(tmp_path / "reference")


def test_an_altered_shard_is_built_again(write_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    config, directory = write_config(), tmp_path / "killed"
    assert cli.main(["build", config, "--output", str(tmp_path / "reference")]) == 0
    process = start(config, directory)
    reach(process, directory, ".stage/*/shards/train.tfrecord-*-of-*5.json", 3)
    kill(process)
    (directory / "manifest.json").unlink(missing_ok=True)
    shard, *_ = [*directory.glob(".stage/*/shards/train.tfrecord-00000-of-00005.*[!n]"), directory / "train.tfrecord-00000-of-00005"]
    data = bytearray(shard.read_bytes())
    data[1000] ^= 1
    shard.write_bytes(data)
    assert cli.main(["build", config, "--output", str(directory)]) == 0
    assert tree_digest(directory) == tree_digest(tmp_path / "reference")


def test_text_that_changed_after_a_kill_is_read_again(write_config: WriteConfig, corpus: pathlib.Path, tmp_path: pathlib.Path) -> None:
    text = tmp_path / "text"
    shutil.copytree(corpus, text)
    config, directory = write_config(sources=[{"files": [str(text)]}]), tmp_path / "killed"
    process = start(config, directory)
    reach(process, directory, ".stage/*/shards/train.*.json", 3)
    kill(process)
    (directory / "manifest.json").unlink(missing_ok=True)
    plain = text / "plain.jsonl"
    plain.write_bytes(plain.read_bytes().replace(b" the ", b" xqz "))  # as long, with more tokens, so with more shards
    assert cli.main(["build", config, "--output", str(directory)]) == 0
    assert cli.main(["build", config, "--output", str(tmp_path / "reference")]) == 0
    assert tree_digest(directory) == tree_digest(tmp_path / "reference")


def test_a_second_build_is_refused(write_config: WriteConfig, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, directory = write_config(), tmp_path / "dataset"
    with locking.lock(str(directory)):
        assert cli.main(["build", config, "--output", str(directory)]) == 1
    assert "another job is writing here" in capsys.readouterr().err


def test_a_dead_worker_ends_the_build(write_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    config, directory = write_config(), tmp_path / "dataset"
    process = start(config, directory, "--direct_running_mode=multi_processing", "--direct_num_workers=2")

    def workers() -> list[int]:
        found = []
        for pid in watchdog.descendants(process.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                if "transforms.workers.worker" in psutil.Process(pid).cmdline():
                    found.append(pid)
        return found

    wait_for(lambda: len(workers()) >= 2)
    os.kill(workers()[-1], signal.SIGKILL)
    _, error = process.communicate(timeout=300)
    assert process.returncode == local.EXIT_WORKER_DIED
    assert b"a worker process died" in error
    assert cli.main(["build", config, "--output", str(directory)]) == 0


def starve(arguments: list[str], log: str, threads: int) -> None:
    """Runs the command line in a process that is refused every thread after so many."""
    fd = os.open(log, os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(fd, stream)
    start, left = threading.Thread.start, threads

    def refuse(self: threading.Thread) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise RuntimeError("can't start new thread")
        start(self)

    threading.Thread.start = refuse  # type: ignore[method-assign]
    if threads < 100:
        watchdog.check_threads = lambda _: None  # type: ignore[assignment]
        local.check_threads = watchdog.check_threads
    cli.main(arguments, ends=True)


@pytest.mark.parametrize("threads", [4, 16, 100])
def test_a_system_that_refuses_threads_ends_the_build(write_config: WriteConfig, tmp_path: pathlib.Path, threads: int) -> None:
    """It hung for good: where the runner waited for a thread that had died, or for its servers behind the message."""
    log = tmp_path / "log"
    arguments = ["build", write_config(), "--direct_num_workers=4", "--direct_running_mode=multi_threading"]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(soaking.PRELOAD)
    process = context.Process(target=starve, args=(arguments, str(log), threads))
    process.start()
    assert soaking.join(process, 300) == 1, log.read_text()
    errors = [line for line in log.read_text().splitlines() if "error" in line]
    assert len(errors) == 1 and "can't start new thread" in errors[0] and "Traceback" not in log.read_text()
    assert threads < 100 or "this build needs about 104 threads. Raise the limit" in errors[0]


def interrupt_twice(log: str) -> None:
    """Is interrupted, and again where the first interruption is about to end the process."""
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 2)
    descendants, again = watchdog.descendants, iter([True])

    def find(pid: int) -> set[int]:
        if next(again, False):
            signal.raise_signal(signal.SIGINT)
        return descendants(pid)

    watchdog.descendants = find
    with watchdog.guard():
        signal.raise_signal(signal.SIGINT)


def test_a_second_interruption_ends_what_the_first_one_was_about_to_end(tmp_path: pathlib.Path) -> None:
    """It waited for itself."""
    log = tmp_path / "log"
    process = multiprocessing.get_context("forkserver").Process(target=interrupt_twice, args=(str(log),))
    process.start()
    assert soaking.join(process, 300) == 128 + signal.SIGINT
    assert log.read_text().count("stopped by SIGINT") == 2


def test_a_full_disk_is_one_clear_line(
    write_config: WriteConfig, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import errno

    from tokenreel.assembly.shard_writer import ShardWriter

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    config = write_config()
    with monkeypatch.context() as patch:
        patch.setattr(ShardWriter, "write", full)
        assert cli.main(["build", config]) == 1
    assert "No space left on device. Run the same command again" in capsys.readouterr().err.splitlines()[-1]
    assert not list((tmp_path / "dataset").rglob("*.tmp-*"))
    assert cli.main(["build", config]) == 0


CRASH = """
import os, signal
from tokenreel.sources import reading
read = reading.read_documents
def crash(block, *arguments):
    if any(file_range.file.name.endswith("deadly.jsonl") for file_range in block.file_ranges):
        os.kill(os.getpid(), signal.SIGSEGV)
    return read(block, *arguments)
reading.read_documents = crash
"""


@pytest.mark.parametrize(
    "workers",
    [
        ["--direct_num_workers=1"],
        pytest.param(["--direct_running_mode=multi_processing", "--direct_num_workers=2"], marks=pytest.mark.slow),
    ],
)
def test_what_processes_die_over_is_named_and_left_out_if_asked(
    write_config: WriteConfig, tmp_path: pathlib.Path, corpus: pathlib.Path, workers: list[str]
) -> None:
    (tmp_path / "crash").mkdir()
    (tmp_path / "crash" / "sitecustomize.py").write_text(CRASH)
    deadly = tmp_path / "deadly.jsonl"
    deadly.write_text('{"text": "It reads well."}\n')
    sources = [{"name": "docs", "files": [str(corpus)]}, {"name": "more", "files": [str(deadly)]}]
    config = write_config(sources=sources, execution={"block_mb": 0.01, "max_dead_letter_fraction": 1, "allow_empty_files": True})
    directory = tmp_path / "dataset"

    def build(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "pipelines.build", config, "--output", str(directory), *workers, *arguments]
        environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'crash'}:{os.getcwd()}"}
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
        return result.returncode, result.stderr

    for _ in range(2):
        code, error = build()
        assert code in (local.EXIT_WORKER_DIED, -signal.SIGSEGV)
    assert f"a process of this build ended while it read {deadly}\n" in error
    code, error = build("--set", "execution.dead_letter_crashes=true")
    assert code == 0
    assert f"{deadly}, as 1 other did: leave the file out of sources.files, or set execution.dead_letter_crashes: true" in error
    assert "deadly.jsonl: left out unread: 2 processes died over it" in (directory / "dead_letters" / "dead_letters.jsonl").read_text()

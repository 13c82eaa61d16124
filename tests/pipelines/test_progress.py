"""What a command says while it works, and what that costs."""

from __future__ import annotations

import pathlib
import threading
import time
from collections.abc import Callable

import pytest

from pipelines import cli, local
from pipelines.progress import BuildProgress
from tokenreel.config import reading as configs
from tokenreel.curation.filters import Rules
from tokenreel.errors import StorageError
from tokenreel.vocabularies.loading import open_vocabulary


def test_looking_takes_a_small_part_of_the_time_and_delays_no_end(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[float] = []
    stuck = threading.Event()

    def report() -> str:
        asked.append(time.monotonic())
        if len(asked) == 2:
            raise StorageError("gs://b: the storage kept failing")
        if len(asked) == 4:
            stuck.wait(60)
        time.sleep(0.004)
        return f"look {len(asked)}"

    began = time.monotonic()
    with local.show_progress(report, 0.001):
        while len(asked) < 4:
            assert time.monotonic() < began + 30
            time.sleep(0.01)
        ended = time.monotonic()
    assert time.monotonic() - ended < 5, "the last look was waited for"
    stuck.set()
    assert asked[1] - asked[0] >= 0.2, "a look of 4 ms was repeated within 0.2 s"
    printed = capsys.readouterr().err
    assert "look 1" in printed and "progress is unknown (gs://b: the storage kept failing)" in printed and "look 3" in printed
    assert "look 4" not in printed


def test_blocks_of_other_builds_are_not_counted(corpus: pathlib.Path, tmp_path: pathlib.Path, write_config: Callable[..., str]) -> None:
    stage = tmp_path / "stage"
    execution = {"stage": str(stage), "block_mb": 0.05}
    first, second = (
        write_config(name, sources=[{"name": name, "files": [str(corpus)]}], execution=execution, output=str(tmp_path / f"{name}-built"))
        for name in ("one", "two")
    )
    assert cli.main(["build", first, "--direct_num_workers=1"]) == 0

    def said(path: str) -> str:
        job = configs.load(pathlib.Path(path).read_text(), name=path)
        return BuildProgress(job, open_vocabulary(job.vocabulary.kind, job.vocabulary.path, job.vocabulary.options), [Rules()])()

    blocks = len({path.name[:32] for path in stage.iterdir()})
    assert blocks > 1
    shards = len(list((tmp_path / "one-built").glob("*.tfrecord-*")))
    assert said(first) == f"{blocks} of about {blocks} blocks tokenized, {shards} shards written"
    assert said(second) == f"0 of about {blocks} blocks tokenized, 0 shards written"

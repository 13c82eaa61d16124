"""What a build says while it works."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable

import pytest

from pipelines import cli
from pipelines.progress import BuildProgress
from tokenreel.config import reading as configs
from tokenreel.curation.filters import Rules
from tokenreel.vocabularies.loading import open_vocabulary


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
    assert said(first) == f"{blocks} of {blocks} blocks tokenized, {shards} shards written"
    assert said(second) == f"0 of {blocks} blocks tokenized, 0 shards written"


def test_blocks_of_the_same_text_are_counted_as_the_end_counts_them(
    corpus: pathlib.Path, tmp_path: pathlib.Path, write_config: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    """It was "of about 3 blocks" while it worked, and "of 6 blocks" at the end."""
    sources = [{"name": name, "files": [str(corpus)]} for name in ("one", "two")]
    config = write_config(sources=sources, execution={"stage": str(tmp_path / "stage"), "block_mb": 0.05, "allow_leaks": True})
    assert cli.main(["build", config, "--direct_num_workers=1"]) == 0
    (blocks,) = re.findall(r"\d+ of (\d+) blocks came from the token cache", capsys.readouterr().err)
    job = configs.load(pathlib.Path(config).read_text(), name=config)
    progress = BuildProgress(job, open_vocabulary(job.vocabulary.kind, job.vocabulary.path, job.vocabulary.options), [Rules(), Rules()])
    assert progress().startswith(f"{blocks} of {blocks} blocks tokenized")

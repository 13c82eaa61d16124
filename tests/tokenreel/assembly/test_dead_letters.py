from __future__ import annotations

import io
import json
import os
import pathlib
import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import yaml

from pipelines import cli
from tests import buckets
from tests.conftest import tree_digest
from tests.tokenreel.planning.test_stage_table import selection
from tests.tokenreel.sources.test_file_counts import header
from tokenreel.assembly import dead_letters
from tokenreel.assembly.dead_letters import DeadLetters
from tokenreel.config.build import JobConfig, PackingConfig, VocabularyConfig
from tokenreel.config.corpus import SourceConfig
from tokenreel.config.workspace import Workspace
from tokenreel.planning.selection import StageSelection
from tokenreel.planning.stage_table import StageTable
from tokenreel.sources import file_counts
from tokenreel.sources.fault_log import Fault
from tokenreel.sources.file_counts import FileCounts
from tokenreel.staging import range_cache
from tokenreel.staging.columns import StageInfo

STAGE = f"gs://{buckets.BUCKET}/stage"


def names(chance: random.Random) -> Iterator[str]:
    """Files of text as a source lists them, some of them archives, whose members come before what is said of the archive itself."""
    for number in range(chance.randrange(1, 12)):
        if chance.random() < 0.5:
            yield f"{number:02d}.jsonl"
            continue
        yield from [f"{number:02d}.tar"] * chance.randrange(2)
        for member in range(chance.randrange(6)):
            yield f"{number:02d}.tar#{member}"
            yield from [f"{number:02d}.tar#{member}#inner"] * chance.randrange(2)
        yield f"{number:02d}.tar"


def stage_files(chance: random.Random) -> Iterator[list[FileCounts]]:
    """What stage files hold of them: some several files, some a part of one."""
    held: list[FileCounts] = []
    for name in names(chance):
        for _ in range(chance.choice([1, 1, 1, 4])):
            documents = chance.choice([0, 0, chance.randrange(9)])
            lost = {"no_text": 1 + chance.randrange(3)} if chance.random() < 0.15 else {}
            if not held or held[-1].name != name:
                held.append(FileCounts(name, documents + chance.randrange(5) + 3, documents, lost, 7 * len(lost)))
            if chance.random() < 0.4:
                yield held
                held = []
    yield held


@pytest.mark.parametrize("seed", range(4))
def test_what_is_told_does_not_depend_on_which_stage_files_are_opened(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Lines from the beginning of each file, which files gave nothing, and what archives gave, which lie across stage files."""
    config = JobConfig(
        output="nowhere",
        sources=(SourceConfig(name="web", files=("x",), dead_letters_kept=5),),
        vocabulary=VocabularyConfig(kind="bytes"),
        packing=PackingConfig(seq_len=16),
    )
    chance, told, spared = random.Random(seed), 0, 0
    for _ in range(60):
        headers = list(stage_files(chance))
        opened: list[int] = []

        def read(info: StageInfo, headers: Sequence[Any] = headers, opened: list[int] = opened) -> tuple[Sequence[FileCounts], list[Fault]]:
            opened.append(info.block)
            counts = headers[info.block]
            return counts, [Fault(each.name, 5, 2, "no_text", "is wrong", "") for each in counts if each.dead_letters]

        def found(outer: Callable[[dict[str, Any]], str], headers: Sequence[Any] = headers) -> tuple[Any, ...]:
            rows: list[StageSelection] = []
            for block, counts in enumerate(headers):
                row = selection(0, block)
                dead = sum(sum(each.dead_letters.values()) for each in counts)
                vars(row.info).update(part=0, dead_letters=dead, outer_files=outer(header(*counts)))
                rows.append(row)
            letters, file = DeadLetters(config, StageTable.of(rows), Workspace.of(config, "build")), io.BytesIO()
            accounts = list(letters.files({0}, file))
            empty = [(each.name, each.dead_letters) for each in dead_letters.without_documents(accounts)]
            lost = [(each.name, each.dead_letters, each.lost_bytes, each.first) for each in accounts if each.dead_letters]
            return file.getvalue(), empty, lost, letters._total, letters._listed

        monkeypatch.setattr(dead_letters, "_read", read)
        expected = found(lambda header: "")
        assert opened == list(range(len(headers)))
        opened.clear()
        assert found(file_counts.outer) == expected
        assert opened == [block for block, counts in enumerate(headers) if any(each.dead_letters for each in counts)]
        told, spared = told + len(expected[1]), spared + len(headers) - len(opened)
    assert told > 10 and spared > 100


@pytest.fixture
def config(tmp_path: pathlib.Path) -> str:
    """Fifteen small files, one of which holds a dead letter, and a file of many blocks with one near its end."""
    for name, count, bad in [*((f"{number:02d}", 6, 3 if number == 10 else -1) for number in range(15)), ("long", 300, 280)]:
        (tmp_path / "text").mkdir(exist_ok=True)
        lines = [json.dumps({"body" if line == bad else "text": f"document {line} of {name}, in some words"}) for line in range(count)]
        (tmp_path / f"text/{name}.jsonl").write_text("\n".join(lines) + "\n")
    settings: dict[str, Any] = {"sources": [{"name": "web", "files": [str(tmp_path / "text")]}], "vocabulary": {"kind": "bytes"}}
    settings |= {"packing": {"seq_len": 64}, "execution": {"stage": STAGE, "block_mb": 0.001}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    return str(tmp_path / "config.yaml")


def test_a_build_opens_the_stage_files_with_dead_letters_alone(
    config: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check, read = dead_letters.check, dead_letters._read

    def build(server: buckets.Server, output: str) -> tuple[int, list[str], list[str]]:
        """Counts stage files; gives those that are opened for dead letters, and those that are asked for in the meantime."""
        opened: list[str] = []
        asked: list[str] = []
        count = 0

        def checking(job: JobConfig, work: Workspace, inputs: Any, selections: StageTable, *rest: Any) -> None:
            nonlocal count
            for each in selections:  # headers were looked at just before
                range_cache.forget(each.info.path)
            begin, count = len(server.log), len(selections)
            check(job, work, inputs, selections, *rest)
            asked.extend(name[0] for _, path in server.log[begin:] if (name := re.search(r"[0-9a-f]{32}-\d{5}\.stage", path)))

        def reading(info: StageInfo) -> Any:
            opened.append(os.path.basename(info.path))
            return read(info)

        monkeypatch.setattr(dead_letters, "check", checking)
        monkeypatch.setattr(dead_letters, "_read", reading)
        assert cli.main(["build", config, "--output", str(tmp_path / output), "--direct_num_workers=1"]) == 0
        return count, sorted(opened), asked

    with buckets.server() as server:
        count, opened, asked = build(server, "new")
        assert count > 10 and len(opened) == 2 and set(asked) == set(opened)
        assert len(asked) <= 4 * len(opened), "header, dead letters, and their CRCs"
        assert build(server, "again")[:2] == (count, opened), "stage files that are there already tell the same"
        monkeypatch.setattr(file_counts, "outer", lambda header: "")  # nothing but headers tells, as before
        assert len(build(server, "old")[1]) == count
    assert tree_digest(tmp_path / "new") == tree_digest(tmp_path / "again") == tree_digest(tmp_path / "old")
    letters = [json.loads(line) for line in (tmp_path / "new/dead_letters/dead_letters.jsonl").read_text().splitlines()]
    assert [(letter["file"], letter["line"]) for letter in letters] == [("10.jsonl", 4), ("long.jsonl", 281)]

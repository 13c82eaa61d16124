"""Merge passes change no byte of a dataset: whatever is merged, however often, and wherever a build was ended meanwhile."""

from __future__ import annotations

import json
import pathlib
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from pipelines import cli
from tests import buckets
from tests.conftest import tree_digest
from tests.pipelines import test_interruption as interruption
from tokenreel.curation import hash_tables
from tokenreel.errors import BuildError
from tokenreel.planning import merge_plan
from tokenreel.staging import merging, stage_file, token_cache
from tokenreel.storage import files, gcs

Build = Callable[..., tuple[dict[str, str], str]]


def write(folder: pathlib.Path, **settings: Any) -> str:
    """Writes documents of two sources, many of them twice, and a config that takes some of them several times."""
    chance = random.Random(5)
    texts = [" ".join(chance.choices(["light", "night", "é", "stone", "under"], k=chance.randint(1, 30))) for _ in range(150)]
    for number, name in enumerate(["a", "b", "again"]):
        rows = [{"text": text, "number": i} for i, text in enumerate(texts[number * 50 : number * 50 + 60])]
        rows += [{"text": text, "id": "one name for all"} for text in texts[:3]]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "output": str(folder / "dataset"),
        "sources": [
            {"name": "docs", "files": [str(folder / "[ab].jsonl")], "metadata_fields": ["number"], "epochs": 1.6},
            {"name": "again", "files": [str(folder / "again.jsonl")], "splits": {"test": 0.3}},
        ],
        "vocabulary": {"kind": "bytes"},
        "duplicates": {"remove": "documents"},
        "splits": {"validation": 0.1},
        "packing": {"seq_len": 64},
        "order": {"group_tokens": 1000},
        "shards": {"examples": 96},
        "execution": {"block_mb": 0.001, "allow_leaks": True},
        **settings,
    }
    path = folder / f"{len(list(folder.glob('*.yaml')))}.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("merging")


@pytest.fixture(scope="module")
def config(folder: pathlib.Path) -> str:
    return write(folder)


@pytest.fixture(scope="module")
def reference(folder: pathlib.Path, config: str) -> dict[str, str]:
    """What is built without merging."""
    assert cli.main(["build", config, "--output", str(folder / "reference"), "--direct_num_workers=1"]) == 0
    return tree_digest(folder / "reference")


@pytest.fixture
def build(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> Build:
    """Builds with a budget of reads, merging so many files at a time; gives what lies there then, and what was said."""

    def run(config: str, reads: int, merge_files: int, *arguments: str, code: int = 0, name: str = "dataset") -> tuple[dict[str, str], str]:
        limits = [f"--set=execution.max_reads={reads}", f"--set=execution.merge_files={merge_files}"]
        workers = [] if any("workers" in argument for argument in arguments) else ["--direct_num_workers=1"]
        found = cli.main(["build", config, "--output", str(tmp_path / name), *limits, *workers, *arguments])
        shown = capsys.readouterr().err
        assert found == code, shown
        return tree_digest(tmp_path / name), shown

    return run


def made(shown: str) -> tuple[int, int]:
    """Levels and strands of the plan that followed the counts of the stage files."""
    (found,) = set(re.findall(r"^tokenreel: (\d+) merge levels?, .* become (\d+) strands?;", shown, re.MULTILINE))  # replays tell it again
    return int(found[0]), int(found[1])


THREADS = ["--direct_num_workers=4", "--direct_running_mode=multi_threading"]


@pytest.mark.parametrize(
    ("reads", "merge_files", "levels", "arguments"),
    [
        (200, 8, 1, []),
        (150, 4, 2, ["--direct_runner_bundle_repeat=1"]),
        pytest.param(150, 4, 2, [*THREADS, "--set=execution.block_mb=0.0007"], marks=pytest.mark.slow),
        pytest.param(100, 2, 4, [], marks=pytest.mark.slow),
    ],
)
def test_levels_change_nothing(
    build: Build,
    config: str,
    reference: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    reads: int,
    merge_files: int,
    levels: int,
    arguments: list[str],
) -> None:
    """Of stage files, and of the tables by which duplicates are found."""
    monkeypatch.setattr(hash_tables, "_RANGE_ENTRIES", 8)
    found, shown = build(config, reads, merge_files, *arguments)
    assert "tokenreel: search for duplicates: " in shown
    assert made(shown)[0] == levels and "planned by the size of the files" in shown
    assert found == reference


def by_field(folder: pathlib.Path, **settings: Any) -> str:
    """Writes what `write` does, sorted by the first letters of the text: many documents share a value, and groups are of three splits."""
    field = {"order_field": "text"}
    docs = {"name": "docs", "files": [str(folder / "[ab].jsonl")], "metadata_fields": ["number"], "epochs": 1.6, **field}
    again = {"name": "again", "files": [str(folder / "again.jsonl")], "splits": {"test": 0.3}, **field}
    return write(folder, sources=[docs, again], order={"mode": "field", "group_tokens": 1000}, **settings)


@pytest.fixture(scope="module")
def sorted_reference(folder: pathlib.Path) -> tuple[str, dict[str, str]]:
    """A config by a field, and what is built without merging."""
    config = by_field(folder)
    assert cli.main(["build", config, "--output", str(folder / "sorted"), "--direct_num_workers=1"]) == 0
    return config, tree_digest(folder / "sorted")


@pytest.mark.parametrize(
    ("reads", "merge_files", "levels", "range_blocks"),
    [
        (170, 8, 1, 40),  # the first pass puts several stage files together
        (130, 8, 2, 4),  # it sorts each by itself, and strands have several files
        pytest.param(150, 4, 3, 4, marks=pytest.mark.slow),
        pytest.param(120, 2, 4, 4, marks=pytest.mark.slow),
    ],
)
def test_levels_change_nothing_where_a_field_sorts(
    build: Build,
    sorted_reference: tuple[str, dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    reads: int,
    merge_files: int,
    levels: int,
    range_blocks: int,
) -> None:
    config, expected = sorted_reference
    monkeypatch.setattr(merge_plan, "RANGE_BLOCKS", range_blocks)
    found, shown = build(config, reads, merge_files)
    assert made(shown)[0] == levels and "planned by the size of the files" in shown
    assert found == expected


def test_text_in_its_own_order_is_read_from_few_places_as_it_is(build: Build, folder: pathlib.Path) -> None:
    """A group is a stretch of the text: by a field and shuffled the same text takes more than 200 reads without merging."""
    _, shown = build(write(folder, order={"mode": "source", "group_tokens": 1000}), 130, 4)
    assert "merge level" not in shown
    (files,) = set(re.findall(r"groups in 22 stage files: up to (\d+) reads of", shown))
    assert int(files) <= 130


def test_the_plan_is_what_is_done(
    build: Build, config: str, reference: dict[str, str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what an earlier build merged is kept beside its tokens, found again, and made again where it is damaged."""
    read, write_columns = stage_file.StageFile.read, stage_file.write_columns
    made_reads, moved, written = 0, 0, list[str]()

    def count(self: stage_file.StageFile, name: str, start: int = 0, stop: int | None = None) -> Any:
        nonlocal made_reads
        made_reads += name == "tokens" and start != stop
        return read(self, name, start, stop)

    def note(info: Any, columns: Any, facts: Any) -> Any:
        nonlocal made_reads, moved
        found = write_columns(info, columns, facts)
        if info.ranges:
            made_reads, moved = 0, moved + 2 * (found.end - found.body)
            written.append(pathlib.Path(info.path).name)
        return found

    monkeypatch.setattr(stage_file.StageFile, "read", count)
    monkeypatch.setattr(stage_file, "write_columns", note)
    stage = tmp_path / "stage"
    found, shown = build(config, 150, 4, f"--set=execution.stage={stage}")
    assert found == reference and made(shown) == (2, 2)  # one for each source
    planned = re.findall(r"^tokenreel: 2 merge levels.* up to (\d+) reads? .*; ([\d.]+) KB are moved", shown, re.MULTILINE)
    assert made_reads <= int(planned[0][0]) <= 2 * made_reads
    assert 0.5 < moved / 1000 / float(planned[0][1]) < 1.5  # beside padding, and what is left out as a duplicate
    entries, foreign = token_cache.read(str(stage))
    assert not foreign and {entry.state for entry in entries} == {token_cache.Entry.State.SOUND}
    assert set(written) <= {entry.name for entry in entries} and len(written) > 10
    damaged = stage / written[-1]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    written.clear()
    found, _ = build(config, 150, 4, f"--set=execution.stage={stage}", name="again")
    assert found == reference and written == [damaged.name]


def test_what_was_merged_before_a_build_ended_is_kept(
    build: Build, config: str, reference: dict[str, str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge, calls = merging.merge, 0

    def end(*arguments: Any, **numbers: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 9:
            raise BuildError("for a test")
        return merge(*arguments, **numbers)

    with monkeypatch.context() as patch:
        patch.setattr(merging, "merge", end)
        build(config, 150, 4, code=1)
    kept = {path.name: path.stat().st_ino for path in (tmp_path / "dataset" / ".stage").glob("*.stage")}
    present = {}

    def look(path: str, *arguments: Any, **numbers: Any) -> Any:
        present.update({name: (tmp_path / "dataset" / ".stage" / name).stat().st_ino for name in kept})
        return merge(path, *arguments, **numbers)

    monkeypatch.setattr(merging, "merge", look)
    found, shown = build(config, 150, 4)
    assert "0 were tokenized" in shown and present == kept
    assert found == reference and not (tmp_path / "dataset" / ".stage").exists()


@pytest.mark.slow
def test_a_build_that_is_killed_while_it_merges_is_simply_run_again(
    build: Build, config: str, reference: dict[str, str], tmp_path: pathlib.Path
) -> None:
    directory, limits = tmp_path / "dataset", ["--set=execution.max_reads=150", "--set=execution.merge_files=4"]
    for number in (24, 28):  # 22 stage files, and some merged ones
        process = interruption.start(config, directory, "--set", "execution.block_mb=0.001", *limits)
        interruption.reach(process, directory, ".stage/*-*.stage", number)
        interruption.kill(process)
        assert not (directory / "manifest.json").exists()
    found, shown = build(config, 150, 4)
    assert found == reference and "22 of 22 blocks came from the token cache" in shown


def test_what_no_merging_helps_is_refused_before_text_is_read(build: Build, config: str, tmp_path: pathlib.Path) -> None:
    _, shown = build(config, 5, 4, code=1)
    assert (
        "execution.max_reads allows 5. Nothing was tokenized. Set one of:" in shown
        and "even after 2 merge levels, would take about 132 reads (31 groups" in shown
    )
    assert not list((tmp_path / "dataset").rglob("*-*.stage"))


def test_an_estimate_that_was_wrong_is_found_out(build: Build, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job is ready for more passes than are planned; where these are too few it stops, and keeps the tokens."""
    monkeypatch.setattr(merge_plan, "_TOKEN_BYTES", {"bytes": 40_000})
    monkeypatch.setattr(merge_plan, "_SPARE", 1)
    _, shown = build(write(folder), 100, 2, code=1)
    assert "planned by the size" not in shown and "execution.max_reads allows 100. What is tokenized is kept" in shown


@pytest.mark.parametrize(
    "settings",
    [
        {"packing": {"mode": "best_fit", "seq_len": 64, "per_source": True}, "duplicates": {"remove": "none"}},
        pytest.param(
            {"packing": {"mode": "full_sentences", "seq_len": 64, "sentences": "rules"}, "vocabulary": {"kind": "bytes", "offsets": True}},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_other_layouts_and_columns(build: Build, folder: pathlib.Path, settings: dict[str, Any]) -> None:
    config = write(folder, **settings)
    expected, shown = build(config, 1 << 40, 64, name="reference")
    assert "merge level" not in shown
    found, shown = build(config, 200, 4)
    assert made(shown)[0] >= 1 and found == expected


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["lines", "paragraphs"])
def test_parts_of_documents_that_are_found_twice(build: Build, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, unit: str) -> None:
    config = write(folder, duplicates={"remove": unit})
    expected, shown = build(config, 1 << 40, 64, name="reference")
    assert "search for duplicates" not in shown
    monkeypatch.setattr(hash_tables, "_RANGE_ENTRIES", 2)
    found, shown = build(config, 150, 2)
    assert found == expected and re.search(r"search for duplicates: \d merge levels?, \d+ reads in place of \d+", shown)


@pytest.mark.slow
def test_in_a_bucket(build: Build, config: str, reference: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ranges of large indexes are read in place of the whole ones."""
    monkeypatch.setattr(gcs, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(stage_file, "_WHOLE_INDEX_BYTES", 400)
    with buckets.server():
        found, shown = build(config, 150, 4, f"--set=execution.stage=gs://{buckets.BUCKET}/stage")
        assert found == reference and made(shown) == (2, 2)
        assert len(files.list_files(f"gs://{buckets.BUCKET}/stage")) > 30

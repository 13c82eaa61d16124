"""The planned number of reads bounds the true one, and a plan of too many stops before the first."""

import pathlib
import re
from collections.abc import Callable

import pytest

from pipelines import cli
from tests import buckets
from tests.conftest import tree_digest
from tokenreel.planning import merge_plan
from tokenreel.staging import stage_file
from tokenreel.storage import files, gcs

WriteConfig = Callable[..., str]


def build(config: str, output: object, *arguments: str) -> int:
    return cli.main(["build", config, "--output", str(output), "--direct_num_workers=1", "--set", "execution.block_mb=0.03", *arguments])


def planned(shown: str) -> tuple[int, int, int]:
    """Groups, stage files and reads, as a build printed them."""
    found = re.search(r"tokenreel: ([\d,]+) groups in ([\d,]+) stage files: up to ([\d,]+) reads of ", shown)
    assert found is not None
    groups, stages, reads = (int(number.replace(",", "")) for number in found.groups())
    return groups, stages, reads


@pytest.mark.parametrize("epochs", [1, 3.5])
@pytest.mark.parametrize(
    ("mode", "packing"),
    [
        ("shuffle", {"seq_len": 64}),
        pytest.param("shuffle", {"mode": "best_fit", "seq_len": 64}, marks=pytest.mark.slow),
        ("source", {"seq_len": 64}),
    ],
)
def test_the_plan_bounds_the_reads(
    write_config: WriteConfig,
    corpus: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    mode: str,
    packing: dict[str, object],
    epochs: float,
) -> None:
    made = 0
    original = stage_file.StageFile.read

    def count(self: stage_file.StageFile, name: str, start: int = 0, stop: int | None = None) -> object:
        nonlocal made
        made += name == "tokens" and start != stop
        return original(self, name, start, stop)

    monkeypatch.setattr(stage_file.StageFile, "read", count)
    sources = [{"files": [str(corpus)], "epochs": epochs}]
    config = write_config(sources=sources, packing=packing, order={"mode": mode, "group_tokens": 10_000})
    assert build(config, tmp_path / "dataset") == 0
    groups, stages, reads = planned(capsys.readouterr().err)
    assert groups >= 10 and stages >= 8
    assert 0 < made <= reads
    if mode == "shuffle":
        assert reads <= 2 * made, "a bound far from the truth would refuse builds that can be done"


def test_too_many_reads_are_refused_with_a_remedy_that_works(
    write_config: WriteConfig,
    corpus: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In a job that cannot merge stage files, as its text was taken for too small; see tests/pipelines/test_merging.py for the others."""
    monkeypatch.setattr(merge_plan, "levels_to_prepare", lambda *_: 0)
    sources = [{"name": "docs", "files": [str(corpus)], "order_field": "number"}]
    config = write_config(sources=sources, order={"mode": "field", "group_tokens": 5_000}, shards={"examples": 2000})
    assert build(config, tmp_path / "free") == 0
    limit = planned(capsys.readouterr().err)[2] * 2 // 3
    limited = [config, tmp_path / "dataset", "--set", f"execution.max_reads={limit}"]
    assert build(*limited) == 1
    message = capsys.readouterr().err
    assert f"execution.max_reads allows {limit}" in message
    assert not list((tmp_path / "dataset").glob("*.tfrecord*")), "refused too late"
    enough = re.search(r"execution\.max_reads: (\d+)", message)
    tokens = re.search(r"order\.group_tokens: (\d+)", message)
    assert enough is not None and tokens is not None
    assert build(config, tmp_path / "dataset", "--set", f"execution.max_reads={enough[1]}") == 0
    assert "0 were tokenized" in capsys.readouterr().err
    assert tree_digest(tmp_path / "dataset") == tree_digest(tmp_path / "free")
    assert build(config, tmp_path / "other", "--set", f"execution.max_reads={limit}", "--set", f"order.group_tokens={tokens[1]}") == 0


def test_a_group_takes_one_request_of_each_object(
    write_config: WriteConfig, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gcs, "FIRST_DELAY", 0.01)
    config = write_config(order={"group_tokens": 10_000}, shards={"examples": 2000})
    with buckets.server() as server:
        place = f"gs://{buckets.BUCKET}/stage"
        assert build(config, tmp_path / "dataset", "--set", f"execution.stage={place}") == 0
        _, stages, reads = planned(capsys.readouterr().err)
        assert len(files.list_files(place)) == stages
        made = sum(method == "GET" and "alt=media" in path and "stage%2F" in path for method, path in server.log)
        # For each file also: its counts (three arrays), its index, and what provenance tells of its documents.
        assert made <= reads + 16 * stages
    assert build(config, tmp_path / "local") == 0
    assert tree_digest(tmp_path / "dataset") == tree_digest(tmp_path / "local")

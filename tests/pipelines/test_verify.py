"""`tokenreel verify` as a Beam job says what it says in one process, line for line; on Prism, see test_engines.py."""

from __future__ import annotations

import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import cli
from tests import buckets, verification_datasets
from tests.elements import LARGEST, Elements
from tests.elements import elements as elements
from tests.reseal import recipes
from tokenreel.format import manifest, naming, sidecars
from tokenreel.inspection import document_checks, parts, shard_check
from tokenreel.inspection.verification import verify
from tokenreel.storage import files

JOB = ["--runner=DirectRunner", "--direct_num_workers=2"]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
    root = tmp_path_factory.mktemp("verify")
    recipes.write_corpus(root)
    verification_datasets.make(root / "made", overlap=1, dead_letters=3)
    return {"made": root / "made", "pairs": recipes.build("pairs", root)}


def say(dataset: str, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    """Verifies; gives the exit code, and what a user reads but for times and notes on the runner."""
    capsys.readouterr()
    code = cli.main(["verify", dataset, "--quiet", *options])
    return code, capsys.readouterr().out.split(", checked in")[0]


def flip(path: pathlib.Path, at: int = 700) -> None:
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 0x10
    path.write_bytes(data)


def edit_table(dataset: pathlib.Path, name: str, change: Callable[[dict[str, list[Any]]], None]) -> None:
    table = pq.read_table(dataset / name).to_pydict()
    change(table)
    pq.write_table(pa.table(table), dataset / name)
    verification_datasets.sign(dataset)


def damage_records(dataset: pathlib.Path) -> None:
    shards = sorted(path for path in dataset.iterdir() if naming.is_shard(path.name))
    for shard in shards[1::2]:
        flip(shard)
    shards[0].unlink()


def damage_tables(dataset: pathlib.Path) -> None:
    tables = sorted((dataset / "provenance").iterdir())
    flip(tables[0], 100)
    tables[-1].unlink()
    flip(dataset / naming.STATISTICS, 50)


def contradict(dataset: pathlib.Path) -> None:
    """Tables that disagree with each other about documents, and streams that do not go on: all of it sealed."""
    tables = sorted(f"provenance/{path.name}" for path in (dataset / "provenance").iterdir())

    def change(table: dict[str, list[Any]]) -> None:
        table["doc_tokens"][0] += 1
        table["doc_id"][0] = "x"
        table["document"][-1] += 1

    for name in tables[1:4]:
        edit_table(dataset, name, change)


def overstate(dataset: pathlib.Path) -> None:
    content = json.loads((dataset / naming.STATISTICS).read_text())
    for split in content["splits"].values():
        split["documents"] = 1 << 60
        split["cut_documents"] = -3
    (dataset / naming.STATISTICS).write_text(json.dumps(content))
    verification_datasets.sign(dataset)


def make_no_sense(dataset: pathlib.Path) -> None:
    found = manifest.read(str(dataset))
    verification_datasets.sign(dataset, config={**found.config, "packing": "none"})


def renumber(dataset: pathlib.Path) -> None:
    """Document numbers far apart."""
    overstate(dataset)
    tables = sorted(f"provenance/{path.name}" for path in (dataset / "provenance").iterdir())
    edit_table(dataset, tables[0], lambda table: table["document"].__setitem__(-1, 1 << 58))


DAMAGES = [damage_records, damage_tables, contradict, overstate, make_no_sense, renumber]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_dataset_is_told_of_in_the_same_words(
    originals: dict[str, pathlib.Path], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], damage: Callable[..., None]
) -> None:
    names = ["made", "pairs"] if damage is contradict else ["made"]
    for name in names:
        dataset = shutil.copytree(originals[name], tmp_path / name)
        damage(dataset)
        code, lines = say(str(dataset), capsys)
        assert code == 1 and lines
        assert say(str(dataset), capsys, *JOB) == (1, lines)


def test_sound_datasets_are_sound(originals: dict[str, pathlib.Path], capsys: pytest.CaptureFixture[str]) -> None:
    for dataset in originals.values():
        before = files.list_files(str(dataset))
        assert say(str(dataset), capsys, *JOB) == (0, "")
        assert files.list_files(str(dataset)) == before  # a check writes nothing there


def test_ranges_of_documents_do_not_matter(
    originals: dict[str, pathlib.Path], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Documents are looked at together, seven at a time, and one by one."""
    dataset = shutil.copytree(originals["made"], tmp_path / "made")
    contradict(dataset)
    every = [*originals.values(), dataset]
    whole = [verify(str(each)) for each in every]
    assert whole[:-1] == [[], []] and any("in one segment and" in line for line in whole[-1])
    for size in (7, 1):
        for module in (document_checks, parts, shard_check):
            monkeypatch.setattr(module, "RANGE", size)
        assert [verify(str(each)) for each in every] == whole


def test_each_table_is_read_once(originals: dict[str, pathlib.Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """For its CRC, for the records and for the documents; by descriptors, however a file is opened."""
    opened: list[str] = []
    opening, checked = files.open_read, sidecars.open_checked
    monkeypatch.setattr(files, "open_read", lambda path: opened.append(path) or opening(path))
    monkeypatch.setattr(sidecars, "open_checked", lambda *of: opened.append(files.join(of[0], of[2])) or checked(*of))
    for dataset in originals.values():
        opened.clear()
        assert verify(str(dataset)) == []
        tables = [path for path in opened if "provenance" in path]
        assert sorted(tables) == sorted(str(path) for path in (dataset / "provenance").iterdir())


def test_no_element_grows_with_the_number_of_shards(tmp_path: pathlib.Path, elements: Elements) -> None:
    """Five shards against a hundred, every record of which contradicts its table."""
    found = []
    for count in (5, 100):
        dataset = tmp_path / str(count)
        verification_datasets.make(dataset, documents={"train": 3 * count}, examples_per_shard=2, seq_len=64)
        for name in sorted(path.name for path in (dataset / "provenance").iterdir()):
            table = pq.read_table(dataset / "provenance" / name).to_pydict()
            table["doc_tokens"][0] += 1
            pq.write_table(pa.table(table), dataset / "provenance" / name)
        verification_datasets.sign(dataset)
        elements.count = elements.largest = 0
        assert cli.main(["verify", str(dataset), "--quiet", "--runner=DirectRunner", "--direct_num_workers=1"]) == 1
        found.append((elements.count, elements.largest, elements.what))
    (few, _, _), (many, largest, what) = found
    assert many > 10 * few and largest < LARGEST, what


def test_a_dataset_in_a_bucket(originals: dict[str, pathlib.Path], capsys: pytest.CaptureFixture[str]) -> None:
    """What the job hands from step to step lies where `--temp_location` says, and is gone behind it."""
    with buckets.storage() as remote:
        for name in files.list_files(str(originals["made"])):
            files.write_bytes(f"{remote}/dataset/{name}", (originals["made"] / name).read_bytes())
        shard = f"{remote}/dataset/train.tfrecord-00001-of-00016"
        files.write_bytes(shard, files.read_bytes(shard)[:-1] + b"x")
        before = files.list_files(remote)
        expected = say(f"{remote}/dataset", capsys)
        assert expected[0] == 1 and "crc32c is" in expected[1]
        assert say(f"{remote}/dataset", capsys, *JOB, f"--temp_location={remote}/temporary") == expected
        assert files.list_files(remote) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--quick", "--runner=DirectRunner"], "--quick reads no file and needs no job"),
        (["--runner=PortableRunner", "--job_endpoint=localhost:1", "--temp_location=/tmp"], "do not share. Give gs:// paths"),
        (
            ["--runner=PortableRunner", "--job_endpoint=localhost:1", "--environment_type=LOOPBACK", "--update"],
            "--update: a job that runs cannot be replaced by another one.",
        ),
        (
            [
                "--runner=PortableRunner",
                "--job_endpoint=localhost:1",
                "--environment_type=EXTERNAL",
                "--environment_config=h:1",
                "--no-wait",
            ],
            "localhost:1: no job service answers there",
        ),
        (["--runnr=DirectRunner"], "unknown option --runnr"),
    ],
)
def test_a_mistake_is_one_line(
    originals: dict[str, pathlib.Path], capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert cli.main(["verify", str(originals["made"]), *options]) == 2
    assert message in capsys.readouterr().err

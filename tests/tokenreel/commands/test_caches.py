"""The commands that look at datasets know caches of tasks."""

import json
import sys

import numpy as np
import pytest

from pipelines import cli
from tests.datasets import random_examples, write_dataset
from tests.tokenreel.inspection.test_report import Outline
from tests.tokenreel.tasks.caches import write_cache, write_seqio
from tokenreel.tasks import MixtureRegistry, TaskRegistry

ROWS = [
    {"targets": np.arange(n * 20, dtype=np.int32), "text": b"text %d \x1b" % n, "names": np.array([b"a"] * n, object)} for n in range(4)
]
SHARD = "train.tfrecord-00000-of-00001"


def test_verify_compares_every_byte_of_a_cache(tmp_path, capsys):
    write_cache(tmp_path, {"train": [ROWS]})
    assert cli.main(["verify", str(tmp_path)]) == 0
    assert "sound. Cache of task a_task: train 4 examples" in capsys.readouterr().out
    (tmp_path / "train.tfrecord-00000-of-00009").write_bytes(b"")
    data = bytearray((tmp_path / SHARD).read_bytes())
    data[40] ^= 1
    (tmp_path / SHARD).write_bytes(data)
    assert cli.main(["verify", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert f"{SHARD}: crc32c is" in told and "train.tfrecord-00000-of-00009: not in the manifest" in told
    assert cli.main(["verify", "--quick", str(tmp_path)]) == 1
    (tmp_path / SHARD).write_bytes(data[:-1])
    assert cli.main(["verify", "--quick", str(tmp_path)]) == 1 and "bytes, the manifest says" in capsys.readouterr().out


@pytest.mark.parametrize("ours", [True, False])
def test_inspect_shows_examples_of_a_cache(tmp_path, capsys, ours):
    if ours:
        write_cache(tmp_path, {"train": [ROWS]})
    else:
        write_seqio(tmp_path, "train", [ROWS], {"targets": ("int32", [None]), "text": ("string", []), "names": ("string", [None])})
    assert cli.main(["inspect", str(tmp_path), "--index", "2", "--count", "1"]) == 0
    told = capsys.readouterr().out
    assert "train 2 of 4" in told and "names: ['a', 'a']" in told and r"text: text 2 \x1b" in told
    assert "targets: int32 [40]: 0 1 2" in told and "..." in told
    assert cli.main(["inspect", str(tmp_path), "--split", "test"]) == 2 and "has the splits train" in capsys.readouterr().err
    assert cli.main(["inspect", str(tmp_path), "--index", "9"]) == 2 and "has 4 examples" in capsys.readouterr().err


TASKS = """
import numpy as np
from tokenreel import tasks as seqio
from tokenreel.tasks import preprocessors

texts = [{"inputs": f"question {n}", "targets": f"answer {n}", "more": np.arange(3)} for n in range(9)]
source = seqio.FunctionDataSource(lambda split, shuffle_files: texts, splits=["train", "validation"])
features = {name: seqio.Feature(seqio.ByteVocabulary()) for name in ("inputs", "targets")}
task = seqio.TaskRegistry.add("qa:bytes", source, features, [preprocessors.tokenize, preprocessors.append_eos])


@seqio.map_examples
def cut(example, sequence_length):
    return {name: value[: sequence_length[name]] for name, value in example.items() if name in sequence_length}


seqio.TaskRegistry.add("cut", source, features, [preprocessors.tokenize, cut])
seqio.TaskRegistry.add("a_task", source, {"targets": features["targets"]}, [preprocessors.tokenize, seqio.CacheDatasetPlaceholder()])
seqio.MixtureRegistry.add("both", [task, task.replace(name="again")], default_rate=1)
"""


@pytest.fixture
def registered(tmp_path, monkeypatch):
    """A module of tasks, which is on the path and not imported yet."""
    for registry in (TaskRegistry, MixtureRegistry):
        monkeypatch.setattr(registry, "_REGISTRY", {})
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.syspath_prepend(tmp_path)
    name = f"inspected_tasks_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(TASKS)
    yield name
    sys.modules.pop(name, None)


def test_inspect_shows_what_the_steps_of_a_task_make(registered, capsys):
    given = ["--module_import", registered]
    assert cli.main(["inspect", "qa:bytes", *given, "--index", "7", "--count", "5"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("train 7\n  inputs: int32 [11]: 116 120 104") and "inputs, decoded: question 7\n" in told
    assert "targets_pretokenized: answer 8\n" in told and "more: int64 [3]: 0 1 2\n" in told and "train 9" not in told
    assert cli.main(["inspect", "both", *given, "--count", "2", "--split", "validation"]) == 0
    assert capsys.readouterr().out.count("decoded: answer 0\n") == 2
    assert cli.main(["inspect", "cut", *given, "--sequence_length", "inputs=4", "--sequence_length", "targets=6"]) == 0
    assert "inputs, decoded: ques\n" in capsys.readouterr().out


def test_a_dataset_is_shown_whatever_is_imported(registered, tmp_path, capsys):
    write_dataset(tmp_path / "d", {"train": random_examples(3, 8, seed=0)}, per_shard=3)
    assert cli.main(["inspect", str(tmp_path / "d"), "--module_import", registered]) == 0
    assert "train 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["qa:byte"], "No Task or Mixture found with name 'qa:byte'. Did you mean qa:bytes?"),
        (["qa:bytes", "--split", "test"], "has the splits train, validation"),
        (["qa:bytes", "--index", "9"], "split train of qa:bytes has no such example"),
        (["qa:bytes", "--index", "-1"], "number them from 0"),
        (["qa:bytes", "--tokens"], "--tokens: only datasets"),
        (["cut"], "A step may need --sequence_length FEATURE=N"),
        (["cut", "--sequence_length", "inputs"], "such as inputs=512"),
        (["qa:bytes", "--module_import", "no_such_module"], "--module_import no_such_module: cannot be imported"),
    ],
)
def test_mistakes_in_what_is_inspected(registered, capsys, argv, message):
    assert cli.main(["inspect", "--module_import", registered, *argv]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("ours", [True, False])
def test_ids_of_a_cache_are_decoded_where_its_task_is_known(tmp_path, registered, capsys, ours):
    directory, rows = tmp_path / "a_task", [{"targets": np.array([107, 108, 1, 5], np.int32), "id": np.int64(1)}]
    if ours:
        write_cache(directory, {"train": [rows]})
    else:
        write_seqio(directory, "train", [rows], {"targets": ("int32", [None]), "id": ("int64", [])})
    assert cli.main(["inspect", str(directory)]) == 0 and "decoded" not in capsys.readouterr().out
    assert cli.main(["inspect", str(directory), "--module_import", registered]) == 0
    assert "  targets: int32 [4]: 107 108 1 5\n  targets, decoded: hi\n" in capsys.readouterr().out


@pytest.mark.parametrize("ours", [True, False])
def test_report_tells_what_a_cache_consists_of(tmp_path, capsys, ours):
    directory = tmp_path / "a<task>"
    if ours:
        write_cache(directory, {"train": [ROWS[:3], ROWS[3:]], "validation": [ROWS[:1]]})
    else:
        features = {"targets": ("int32", [None]), "text": ("string", []), "names": ("string", [None])}
        write_seqio(directory, "train", [ROWS[:3], ROWS[3:]], features)
    assert cli.main(["report", str(directory)]) == 0
    assert capsys.readouterr().out == f"{directory / 'report.html'}\n"
    page = (directory / "report.html").read_text(encoding="utf-8")
    outline = Outline(page)
    assert {"Splits", "Features", "Lengths", "Statistics", "Shards"} <= set(outline.titles) and "a<task>" in outline.text
    assert ">train</td><td>4</td><td>2</td>" in page
    assert '>targets</td><td class="text">int32</td><td>1</td><td>0</td><td>30.0</td><td>60</td><td>120</td>' in page
    assert ("task a_task" in page) == ours and ("made by SeqIO" in page) != ours
    assert cli.main(["report", str(directory), "--output", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page
    if ours:
        assert cli.main(["verify", str(directory)]) == 0, "the page is no part of the cache"
        (directory / "train.index-00001-of-00002").write_bytes(b"x")
        assert cli.main(["report", str(directory)]) == 2
        assert "train.index-00001-of-00002: its bytes are not those" in capsys.readouterr().err


def test_a_cache_is_no_dataset(tmp_path, capsys):
    manifest = write_cache(tmp_path, {"train": [ROWS]})
    assert json.loads((tmp_path / "manifest.json").read_text())["fingerprint"] == manifest.fingerprint
    assert cli.main(["where", str(tmp_path), "--batch-size", "2", "--step", "0"]) != 0
    assert "cache" in capsys.readouterr().err

import argparse
import json

import pytest

from tests.datasets import random_examples, write_dataset
from tokenreel.commands import when, where
from tokenreel.errors import ConfigError, ManifestError
from tokenreel.loaders import Lanes, Mixture, load, restoring

COUNT, LENGTH = 103, 16


@pytest.fixture(scope="module")
def arrays():
    return random_examples(COUNT, LENGTH, padded=True)


@pytest.fixture(scope="module")
def dataset(arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("dataset") / "d"
    write_dataset(path, {"train": arrays}, per_shard=16)
    return load(path)


def run(module, *arguments):
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return module.run(parser.parse_args(list(arguments)))


def test_the_commands(dataset, capsys):
    common = [dataset.path, "--batch-size", "8", "--seed", "3", "--epochs", "2", "--skip", "15:30"]
    batches = dataset.batches(8, seed=3, epochs=2, skip=[(15, 30)], prefetch=0)
    expected = batches.where(4)
    assert run(where, *common, "--step", "4", "--json") == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [dict(entry) for entry in expected]
    assert run(where, *common, "--step", "4", "--row", "2", "--text") == 0
    out = capsys.readouterr().out
    assert f"step 4 row 2: sample 34, epoch 0, example {expected[2]['example']}" in out and f"train-{expected[2]['example']}-0" in out
    assert run(where, *common, "--sample", "34", "--json") == 0
    assert json.loads(capsys.readouterr().out)["example"] == expected[2]["example"]
    example = expected[2]["example"]
    assert run(when, *common, "--example", str(example), "--json") == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"example": example, "epoch": 0, "sample": 34, "step": 4, "row": 2} in found
    assert run(when, *common, "--document", f"train-{example}-0") == 0
    assert f"example {example}: step 4, row 2 (epoch 0, sample 34)" in capsys.readouterr().out
    assert run(when, dataset.path, "--batch-size", "8", "--example", "1", "--lanes", "4,2,5") == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    for arguments, message in (
        ([*common, "--document", "nobody"], "no example of split 'train' holds"),
        ([*common, "--example", "999"], "0 to 102"),
        ([*common[:-1], "x", "--example", "1"], "--skip is START:END"),
    ):
        with pytest.raises(ConfigError, match=message):
            run(when, *arguments)
    with pytest.raises(ConfigError, match="steps 0 to"):
        run(where, *common, "--step", "400")


def test_the_commands_read_a_saved_state(dataset, tmp_path, capsys):
    write_dataset(tmp_path / "b", {"train": random_examples(40, LENGTH, padded=True, seed=8)})
    mixture = Mixture({"a": dataset, "b": load(tmp_path / "b")}, {"a": 2, "b": 1}, by="examples", stages=[(64, {"a": 1, "b": 1})])
    lanes = Lanes(lanes=4, mix=2, block=5)
    batches = mixture.batches(16, seed=9, shuffle=lanes, skip=[(3, 9)], prefetch=0)
    next(batches)
    state = tmp_path / "state.json"
    state.write_text(json.dumps(batches.get_state()))
    again = restoring.from_state(mixture.datasets, json.loads(state.read_text()), 16)
    assert again.cursor == 16 and next(again)["example_id"].tolist() == next(batches)["example_id"].tolist()
    common = [f"a={dataset.path}", f"b={tmp_path / 'b'}", "--batch-size", "16", "--state", str(state), "--json"]
    assert run(where, *common, "--step", "6") == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found == [dict(entry) for entry in batches.where(6)]
    entry = next(entry for entry in found if entry["source"] == "b")
    assert run(when, *common, "--example", str(entry["example"]), "--source", "b", "--limit", "4") == 0
    times = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(times) == 4 and (6, entry["row"]) in [(time["step"], time["row"]) for time in times]
    single = tmp_path / "single.json"
    single.write_text(json.dumps(dataset.batches(8, seed=3).get_state()))
    assert run(where, dataset.path, "--batch-size", "8", "--state", str(single), "--step", "2", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["example"] == dataset.where(2, 8, seed=3)[0]["example"]
    (tmp_path / "broken.json").write_text("{}")
    (tmp_path / "list.json").write_text("[]")
    for arguments, error, message in (
        ([*common, "--example", "1"], ConfigError, "--source a or b"),
        ([*common, "--example", "1", "--source", "c"], ConfigError, "no source 'c'"),
        ([f"a={dataset.path}", *common[2:], "--example", "1"], ManifestError, "read the sources"),
        ([f"a={tmp_path / 'b'}", f"b={dataset.path}", *common[2:], "--example", "1"], ManifestError, "other examples"),
        ([*common[:2], "--batch-size", "8", "--example", "1"], ConfigError, "give --state FILE"),
        ([dataset.path, "--batch-size", "8", "--example", "1", "--state", str(tmp_path / "broken.json")], ManifestError, "malformed"),
        ([dataset.path, "--batch-size", "8", "--example", "1", "--state", str(tmp_path / "list.json")], ConfigError, "no loader state"),
        ([dataset.path, "--batch-size", "8", "--example", "1", "--state", str(tmp_path / "none.json")], ConfigError, "cannot be read"),
    ):
        with pytest.raises(error, match=message):
            run(when, *arguments)


@pytest.mark.parametrize("cursor", ["x", None, -1, 1.5, True, 1 << 70, [3]])
def test_a_cursor_that_is_no_number_is_said(dataset, tmp_path, cursor):
    state = dataset.batches(8, seed=3, prefetch=0).get_state() | {"cursor": cursor}
    (tmp_path / "state.json").write_text(json.dumps(state))
    with pytest.raises(ManifestError, match=r"the loader state is malformed: its cursor must be a whole number from 0 on, got"):
        run(where, dataset.path, "--batch-size", "8", "--step", "0", "--state", str(tmp_path / "state.json"))

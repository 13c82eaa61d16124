"""`tokenreel build` of tasks and mixtures: the rows of `get_dataset` as a dataset."""

import importlib
import json
import re
import shutil
import sys

import numpy as np
import pytest
import yaml

import tokenreel
from pipelines import build, cache_tasks, cli
from tests import layering
from tokenreel import tasks as seqio
from tokenreel.caching import cache_job, staging
from tokenreel.converting.prepared_task import PreparedTask
from tokenreel.errors import ManifestError
from tokenreel.format import manifest as manifests
from tokenreel.inspection import opening, totals_checks, verification
from tokenreel.tasks import cache_directories, caching

MODULE = "tests.pipelines.built_tasks"
ROWS = [{"question": f"question {n} " + "x" * (n % 17), "answer": f"answer {n} " + "y" * (n * 7 % 23), "id": n} for n in range(150)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Source files, and the tasks over them, registered."""
    directory = tmp_path_factory.mktemp("data")
    for number, rows in enumerate((ROWS[:70], ROWS[70:71], ROWS[71:])):
        (directory / f"train-{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (directory / "validation.jsonl").write_text("\n".join(json.dumps(row) for row in ROWS[:9]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKENREEL_TEST_DATA", str(directory))
        patch.setattr(cache_job, "_UNIT_BYTES", 2000)  # several units a file
        sys.modules.pop(MODULE, None)
        importlib.import_module(MODULE)
        yield directory
    seqio.TaskRegistry.reset()
    seqio.MixtureRegistry.reset()


def run(directory, settings, *options, name="built"):
    """Writes a config and builds it; gives the exit code and the output."""
    config, output = directory / f"{name}.yaml", directory / name
    config.write_text(yaml.safe_dump({"output": str(output), "module_import": MODULE, **settings}))
    return build.main([str(config), "--direct_num_workers=1", *options]), output


def same(dataset, stream):
    """Compares all rows of a dataset with those of a stream, names, shapes and order too."""
    expected = list(stream)
    assert len(dataset) == len(expected) > 0
    got = dataset.take(np.arange(len(dataset)))
    for name in expected[0]:
        wanted = np.stack([row[name] for row in expected])
        assert got[name].shape == wanted.shape and got[name].dtype == wanted.dtype, name
        np.testing.assert_array_equal(got[name], wanted, err_msg=name)
    assert set(got) - {"example_id"} == set(expected[0])


LENGTHS = {"inputs": 40, "targets": 48}
PACKED = {"task": "qa", "feature_converter": {"name": "EncDecFeatureConverter"}, "task_feature_lengths": LENGTHS, "seed": 3}
PACKED |= {"splits": ["train", "validation"], "shards": {"examples": 16}}


@pytest.fixture(scope="module")
def packed(data, tmp_path_factory):
    """A packed dataset, in several shards."""
    code, output = run(tmp_path_factory.mktemp("packed"), PACKED)
    assert code == 0
    return output


def contents(directory):
    """Every file of a dataset, by name."""
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_built_dataset_holds_the_rows_of_get_dataset(packed, split):
    dataset = tokenreel.load(packed, split)
    same(dataset, seqio.get_dataset("qa", LENGTHS, seqio.EncDecFeatureConverter(pack=True), split, seed=3))
    assert dataset.manifest.splits[split].shards[0].records == min(16, len(dataset))
    batch = next(iter(dataset.batches(4, epochs=1)))
    assert batch["decoder_segment_ids"].shape == (4, 48) and batch["decoder_segment_ids"].dtype == np.int32
    assert {feature.dtype for feature in dataset.manifest.features} == {"uint16", "int64"}


@pytest.mark.parametrize(
    ("task", "converter", "lengths", "options"),
    [
        ("qa", "LMFeatureConverter", {"targets": 48}, {"pack": False}),
        ("qa", "EncDecFeatureConverter", LENGTHS, {"pack": False}),
        pytest.param("paired", "DecoderFeatureConverter", {"targets": 90}, {"pack": True}, marks=pytest.mark.slow),
        ("qa", "Reversed", {"targets": 48}, {"pack": False}),
    ],
)
def test_each_converter_makes_the_rows_that_it_makes_of_a_stream(data, tmp_path, task, converter, lengths, options):
    settings = {"feature_converter": {"name": converter, **options}, "task_feature_lengths": lengths}
    code, output = run(tmp_path, {"task": task, **settings})
    assert code == 0
    made = getattr(seqio, converter, None) or sys.modules[MODULE].Reversed
    same(tokenreel.load(output), seqio.get_dataset(task, lengths, made(pack=options["pack"], **options.get("options", {}))))


def test_a_mixture_takes_its_turns(data, tmp_path):
    options = {"compat": "seqio", "bos_id": 2}
    settings = {"feature_converter": {"name": "PrefixLMFeatureConverter", "options": options}, "task_feature_lengths": LENGTHS}
    code, output = run(tmp_path, {"mixture": "both", "num_epochs": 2, "stop": 200, **settings})
    assert code == 0
    examples = seqio.MixtureRegistry.get("both").get_dataset(LENGTHS, "train", shuffle=False, num_epochs=2, stop=200)
    same(tokenreel.load(output), seqio.PrefixLMFeatureConverter(**options)(examples, LENGTHS))
    assert manifests.read(str(output)).totals["task_examples"] == 200


@pytest.mark.parametrize(("task", "parts"), [("qa", 3), pytest.param("pairs_behind", 1, marks=pytest.mark.slow)])
def test_a_cache_is_read_in_its_order_shard_by_shard(data, tmp_path, task, parts, monkeypatch):
    """Unless a step behind the placeholder takes several examples."""
    options = ["--tasks", task, "--module_import", MODULE, "--output_cache_dir", str(tmp_path / "caches"), "--direct_num_workers=1"]
    assert cache_tasks.main([*options, "--min_shards", "3"]) == 0
    converter = {"name": "LMFeatureConverter"}
    settings = {"task": task, "feature_converter": converter, "task_feature_lengths": {"targets": 90}, "shards": {"examples": 16}}
    monkeypatch.setattr(cache_directories, "_DIRECTORIES", [])
    units_read, stage = [], staging.stage
    monkeypatch.setattr(staging, "stage", lambda task, unit, *rest: units_read.append(unit.shard) or stage(task, unit, *rest))
    code, output = run(tmp_path, {**settings, "use_cached": True, "cache_dirs": ["caches"]})
    assert code == 0 and sorted(units_read) == [(part, parts) for part in range(parts)]
    same(tokenreel.load(output), seqio.get_dataset(task, {"targets": 90}, seqio.LMFeatureConverter(), use_cached=True))
    monkeypatch.setattr(PreparedTask, "_in_shards", lambda self, split: None)
    code, whole = run(tmp_path, {**settings, "use_cached": True, "cache_dirs": ["caches"]}, name="whole")
    assert code == 0 and contents(whole) == contents(output)


def test_workers_change_no_byte(packed, tmp_path):
    code, output = run(tmp_path, PACKED, "--direct_num_workers=2", "--direct_running_mode=multi_threading")
    assert code == 0 and contents(output) == contents(packed)


def test_the_commands_look_at_such_a_dataset(packed, tmp_path, capsys):
    assert cli.main(["verify", str(packed)]) == 0
    assert "sound" in capsys.readouterr().out
    assert cli.main(["inspect", str(packed), "--split", "validation", "--count", "1"]) == 0
    shown = capsys.readouterr().out
    assert "decoder_target_tokens" in shown and "answer 1" in shown
    assert cli.main(["report", str(packed), "--output", str(tmp_path / "report.html")]) == 0
    assert "density" not in capsys.readouterr().err
    assert cli.main(["status", str(packed)]) == 0 and "complete" in capsys.readouterr().out
    with pytest.raises(ManifestError, match="has none"):
        opening.read_origins(str(packed), manifests.read(str(packed)), "train", 0)


def test_verify_counts_rows_again(packed, tmp_path):
    shutil.copytree(packed, tmp_path / "copy")
    (tmp_path / "copy" / "train.tfrecord-00000-of-00003").write_bytes(b"")
    found = verification.verify(str(tmp_path / "copy"))
    assert any("train.tfrecord-00000-of-00003" in line for line in found)
    edited = manifests.read(str(packed))
    assert not list(totals_checks.check_task_rows(edited, json.loads((packed / "statistics.json").read_text())["splits"], {}))
    lines = list(totals_checks.check_task_rows(edited, {name: {"examples": 1, "task_examples": 1} for name in edited.splits}, {"train": 2}))
    assert len(lines) == 3


def test_a_finished_dataset_is_kept_and_another_is_refused(packed, capsys):
    before = contents(packed)
    assert run(packed.parent, PACKED)[0] == 0 and "complete already" in capsys.readouterr().err
    assert run(packed.parent, {**PACKED, "seed": 4})[0] == 1
    assert "finished dataset with other seed" in capsys.readouterr().err
    assert contents(packed) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "nothing"}, "no task 'nothing' is registered; there are broken, more_qa, paired, pairs_behind, qa"),
        ({"task": "both"}, "'both' is a mixture: name it as mixture"),
        ({"task": None}, "task or mixture: name one of them"),
        ({"task": None, "mixture": "both"}, "num_epochs is missing"),
        ({"module_import": "no_such_module"}, "module_import no_such_module: cannot be imported"),
        ({"feature_converter": {"name": "NotOne"}}, "NotOne is no feature converter; there are DecoderFeatureConverter"),
        ({"feature_converter": {"name": "Converter"}}, "no class 'Converter'; there are DecoderFeatureConverter"),
        ({"feature_converter": {"name": "LMFeatureConverter"}}, "LMFeatureConverter: The task_feature_lengths contains extra features"),
        ({"feature_converter": {"name": "EncoderFeatureConverter"}}, "EncoderFeatureConverter: .*mask_id"),
        ({"task": "paired"}, "'paired', split 'train': .*inputs"),
        ({"task": "broken"}, "'broken', split 'train': a step of the task failed with KeyError: 'no such field'"),
        ({"splits": ["test"]}, "'qa' has no split 'test'; it has train, validation"),
        ({"sources": [{"files": "a"}], "packing": {}}, "sources and packing beside task"),
        ({"use_cached": True}, "'qa' has no cache in cache_dirs"),
        ({"task_feature_lengths": {"inputs": 0, "targets": 3}}, "task_feature_lengths.inputs must be a number of positions"),
        ({"stop": 3}, "stop has no meaning for a task"),
    ],
)
def test_bad_settings_are_told_in_one_line(data, tmp_path, capsys, changes, message):
    settings = {name: value for name, value in {**PACKED, **changes}.items() if value is not None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache_directories, "_DIRECTORIES", [])
        assert run(tmp_path, settings)[0] == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1 and re.search(message, told[0]), told
    assert not (tmp_path / "built").exists()


def test_plan_says_that_it_cannot(data, tmp_path, capsys):
    run(tmp_path, {**PACKED, "splits": ["test"]})
    capsys.readouterr()
    assert cli.main(["plan", str(tmp_path / "built.yaml")]) == 2
    assert "this config reads a task" in capsys.readouterr().err


def test_the_config_on_the_page_of_tasks_builds(tmp_path, monkeypatch):
    page = (layering.ROOT / "docs/tasks.md").read_text(encoding="utf-8")
    (module,) = re.findall(r"^```py\n# my_tasks.py\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (config,) = re.findall(r"^```yaml\n(# tokenreel build lines.yaml\n.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "my_tasks.py").write_text(module)
    (tmp_path / "lines.yaml").write_text(config)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").write_text("".join(f"a line of text, number {n}\n" for n in range(40)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert cli.main(["build", "lines.yaml", "--direct_num_workers=1"]) == 0
    same(tokenreel.load("lines"), seqio.get_dataset("lines", {"targets": 128}, seqio.LMFeatureConverter()))
    seqio.TaskRegistry.remove("lines")
    seqio.MixtureRegistry.remove("some_lines")


def test_seqio_finds_its_files_beside_rows(data, tmp_path, capsys):
    settings = {**PACKED, "seqio_view": True, "splits": ["validation"]}
    assert run(tmp_path, settings)[0] == 2 and "seqio_view needs shards.format int64_list" in capsys.readouterr().err
    settings["shards"] = {"examples": 16, "format": "int64_list"}
    code, output = run(tmp_path, settings)
    assert code == 0 and (output / "COMPLETED").read_bytes() == b""
    info = json.loads((output / "info.validation.json").read_text())
    assert info["features"]["decoder_positions"] == {"dtype": "int32", "shape": [48]} and info["num_shards"] == 1
    assert info["features"]["example_id"] == {"dtype": "int64", "shape": []} and info["seqio_version"] == "0.0.20"
    rows = list(seqio.get_dataset("qa", LENGTHS, seqio.EncDecFeatureConverter(pack=True), "validation", seed=3))
    assert json.loads((output / "stats.validation.json").read_text()) == {"examples": len(rows)}
    assert cli.main(["verify", str(output)]) == 0
    assert cli.main(["inspect", str(output), "--count", "1"]) == 0 and "question" in capsys.readouterr().out
    cached = caching.open_cached(str(_without_manifest(output)), "validation")
    assert [row.keys() - {"example_id"} for row in cached] == [row.keys() for row in rows]
    for got, row in zip(cached, rows, strict=True):
        assert all(got[name].tolist() == value.tolist() for name, value in row.items())


def _without_manifest(directory):
    """What SeqIO sees of a dataset."""
    shutil.copytree(directory, directory.with_name("seen"), ignore=shutil.ignore_patterns("manifest.json"))
    return directory.with_name("seen")

"""`tokenreel cache-tasks`, as a user runs it."""

import contextlib
import functools
import importlib
import json
import os
import shutil
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import cache_tasks
from pipelines.pickled_tasks import pickled
from tests.tokenreel.tasks import sentencepiece_models
from tokenreel.caching import cache_job, shards, staging, threads_or_processes, units
from tokenreel.errors import BuildError, ManifestError
from tokenreel.format import cache_manifest, naming
from tokenreel.tasks import cache_directories, caching, preprocessors, task_steps
from tokenreel.tasks.data_sources import FunctionDataSource
from tokenreel.tasks.feature_converters import EncDecFeatureConverter
from tokenreel.tasks.getting import get_dataset
from tokenreel.tasks.rates import mixing_rate_num_characters
from tokenreel.tasks.task import TaskRegistry
from tokenreel.tasks.vocabularies import SentencePieceVocabulary, sentencepiece

MODULE = "tests.pipelines.cached_tasks"
ROWS = [
    {"question": f"question {n} " + "x" * (n % 17), "answer": f"answer {n}", "id": n, "answers": [f"a{n}"] * (n % 3)} for n in range(120)
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Source files, and the tasks over them, registered."""
    directory = tmp_path_factory.mktemp("data")
    for number, rows in enumerate((ROWS[:90], ROWS[90:91], ROWS[91:])):
        lines = [json.dumps(row) for row in rows]
        lines.insert(1, "")  # a blank line is no example
        (directory / f"train-{number}.jsonl").write_text("\n".join(lines) + ("\n" if number else ""))
        table = pa.Table.from_pylist(rows)
        pq.write_table(table, directory / f"train-{number}.parquet", row_group_size=7)
    (directory / "validation.jsonl").write_text("\n".join(json.dumps(row) for row in ROWS[:3]))
    sentencepiece_models.write(directory)
    (directory / "a.txt").write_text("header\n" + "\r\n".join(f"line {n}" for n in range(50)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKENREEL_TEST_DATA", str(directory))
        sys.modules.pop(MODULE, None)
        importlib.import_module(MODULE)
        yield directory
    TaskRegistry.reset()


@contextlib.contextmanager
def units_of(size):
    """Cuts files into units of some bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache_job, "_UNIT_BYTES", size)
        yield


def cache(directory, task, *options):
    """Runs the command in this process with one worker."""
    return cache_tasks.main(
        ["--tasks", task, "--module_import", MODULE, "--output_cache_dir", str(directory), "--direct_num_workers=1", *options]
    )


def contents(directory):
    """Every file of a cache, by name."""
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def key(example):
    return sorted((name, np.asarray(value).tolist()) for name, value in example.items())


def expected(task, split="train"):
    """What the task's steps give without a cache."""
    task = TaskRegistry.get(task)
    return sorted((key(each) for each in task.preprocess_precache(task_steps.of_source(task.source, split, False, None, None))), key=repr)


@pytest.mark.parametrize(
    ("task", "name"), [("qa:json", "qa/json"), ("qa:parquet", "qa/parquet"), ("lines", "lines"), ("function", "function")]
)
def test_a_cache_holds_what_the_steps_give_wherever_files_are_cut(data, tmp_path, task, name):
    with units_of(300):
        assert cache(tmp_path / "small", task, "--min_shards", "3") == 0
    assert cache(tmp_path / "whole", task, "--min_shards", "3") == 0
    found = caching.open_cached(str(tmp_path / "small" / name), "train")
    assert sorted((key(each) for each in found), key=repr) == expected(task)
    assert contents(tmp_path / "small") == contents(tmp_path / "whole")
    assert not (tmp_path / "small" / name / naming.STAGE).exists()


def test_examples_encoded_together_give_the_bytes_of_each_by_itself(data, tmp_path, monkeypatch):
    blocks = []
    whole = SentencePieceVocabulary.encode_block
    monkeypatch.setattr(sentencepiece, "_FEW_BYTES", 20)
    monkeypatch.setattr(SentencePieceVocabulary, "encode_block", lambda self, *block: blocks.append(block) or whole(self, *block))
    assert cache(tmp_path / "together", "texts") == 0
    assert len(blocks) >= 3
    blocks.clear()
    monkeypatch.delattr(preprocessors.tokenize_and_append_eos.__wrapped__, "of_many")
    assert cache(tmp_path / "alone", "texts") == 0
    assert blocks == [] and contents(tmp_path / "together") == contents(tmp_path / "alone")
    found = [key(each) for each in caching.open_cached(str(tmp_path / "alone/texts"), "train")]
    assert sorted(found, key=repr) == expected("texts") and sum("more" in dict(each) for each in found) == 80


def test_files_are_cut_where_steps_map_examples(data):
    task = TaskRegistry.get("qa:json")
    found = list(units.list_units(task, 0, 0, 1000))
    assert len(found) > 5 and len({each.fingerprint for each in found}) == len(found)
    numbered = [element.key for each in units.list_units(task, 0, 0, 1 << 30) for element in units.examples(task, each, 0, None)]
    assert numbered == [element.key for element in _in_file_order(task)]


def _in_file_order(task):
    stream = task.preprocess_precache(task_steps.of_source(task.source, "train", False, None, None))
    return sorted(stream.keyed(), key=lambda element: element.key)


def test_what_a_job_draws_belongs_to_examples_whatever_the_task_says(data, tmp_path):
    task = TaskRegistry.get("qa:json")
    plain, as_seqio = (cache_job.TaskCache.of(each, str(tmp_path), ["train"], 0, False) for each in (task, task.replace(compat="seqio")))
    assert as_seqio.load().compat is None and as_seqio.identity == plain.identity


@pytest.mark.slow
def test_workers_change_no_byte(data, tmp_path):
    assert cache(tmp_path / "one", "qa:json") == 0
    with units_of(2000):
        options = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
        assert cache(tmp_path / "two", "qa:json", *options) == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_threads_make_what_takes_python_less_time_than_processes_take_to_start(data, tmp_path, monkeypatch, capsys):
    arguments = ["--tasks", "texts", "--module_import", MODULE, "--direct_num_workers=2", "--output_cache_dir"]
    with units_of(2000):
        assert cache_tasks.main([*arguments, str(tmp_path / "threads")]) == 0
    assert "in 2 threads" in capsys.readouterr().err
    assert cache(tmp_path / "alone", "texts") == 0
    assert contents(tmp_path / "threads") == contents(tmp_path / "alone")

    def prefers_threads(*names):
        pickles = functools.partial(pickled, modules=[MODULE])
        caches = [cache_job.TaskCache.of(TaskRegistry.get(name), str(tmp_path), None, 0, False, pickles) for name in names]
        return threads_or_processes.prefers_threads(caches)

    assert prefers_threads("texts", "lines", "qa:json")
    assert not any(map(prefers_threads, ("function", "broken"))) and not prefers_threads("texts", "function") and not prefers_threads()
    monkeypatch.setattr(threads_or_processes, "_SECONDS_TO_START", 0.0)
    assert not prefers_threads("texts")
    monkeypatch.undo()
    monkeypatch.setattr(threads_or_processes, "_SAMPLE_BYTES", 100)  # less than a row group
    assert not prefers_threads("qa:parquet") and prefers_threads("qa:json")


def test_statistics_are_those_of_seqio(data, tmp_path):
    assert cache(tmp_path, "qa:json") == 0
    stats = caching.stats_of(str(tmp_path / "qa/json"), "train")
    lengths = [len(row["question"]) for row in ROWS], [len(row["answer"]) for row in ROWS]
    assert stats == {
        "examples": 120,
        "inputs_tokens": sum(lengths[0]),
        "inputs_max_tokens": max(lengths[0]),
        "targets_tokens": sum(lengths[1]),
        "targets_max_tokens": max(lengths[1]),
    }


def test_characters_are_counted_for_the_rates_of_mixtures(data, tmp_path, capsys):
    assert cache(tmp_path, "texts", "--enable_char_counts") == 0
    texts = [row["question"] for row in ROWS], [row["answer"] for row in ROWS]
    more = ["".join(row["answer"]) * (row["id"] % 5) for row in ROWS if row["id"] % 3]
    vocabulary = TaskRegistry.get("texts").output_features["inputs"].vocabulary
    wanted = [sum(len(vocabulary.decode(vocabulary.encode(text))) for text in each) for each in (*texts, more)]
    stats = caching.stats_of(str(tmp_path / "texts"), "train")
    assert [stats[f"{name}_chars"] for name in ("inputs", "targets", "more")] == wanted and wanted[0] > 1000
    cache_directories.set_global_cache_dirs([str(tmp_path)])
    try:
        assert mixing_rate_num_characters(TaskRegistry.get("texts"), char_count_name="targets_chars") == wanted[1]
    finally:
        cache_directories.set_global_cache_dirs([])
    assert cache(tmp_path, "texts") == 1
    assert "the cache is stale: --enable_char_counts changed" in " ".join(capsys.readouterr().err.split())


def test_a_finished_cache_is_found_and_a_stale_one_refused(data, tmp_path, capsys, monkeypatch):
    assert cache(tmp_path, "qa:json") == 0
    before = contents(tmp_path)
    assert cache(tmp_path, "qa:json", "--min_shards", "2") == 0
    assert "is complete already" in capsys.readouterr().err and contents(tmp_path) == before
    task = TaskRegistry.get("qa:json")
    steps = [*task.preprocessors]
    edited = task.replace(preprocessors=[steps[0], steps[2], steps[1], steps[3]])
    monkeypatch.setitem(TaskRegistry._REGISTRY, "qa:json", edited)
    assert cache(tmp_path, "qa:json") == 1
    assert "the cache is stale: step 1 (tests.pipelines.cached_tasks.draw) changed" in " ".join(capsys.readouterr().err.split())
    assert contents(tmp_path) == before
    assert cache(tmp_path, "qa:json", "--overwrite") == 0
    assert contents(tmp_path) != before


@pytest.mark.slow
def test_changed_sources_and_settings_make_a_cache_stale(data, tmp_path, capsys):
    copied = tmp_path / "data"
    shutil.copytree(data, copied)
    task = TaskRegistry.get("qa:json")
    moved = task.replace(source=type(task.source)({"train": f"{copied}/train-*.jsonl", "validation": f"{copied}/validation.jsonl"}))
    with pytest.MonkeyPatch.context() as patch:
        assert cache(tmp_path / "caches", "qa:json") == 0
        patch.setitem(TaskRegistry._REGISTRY, "qa:json", moved)
        assert cache(tmp_path / "caches", "qa:json") == 0
        assert "complete already" in capsys.readouterr().err  # the same files elsewhere
        assert cache(tmp_path / "caches", "qa:json", "--base_seed", "5") == 1
        assert "--base_seed changed" in capsys.readouterr().err
        assert cache(tmp_path / "caches", "qa:json", "--splits", "train") == 1
        assert "split 'validation' is left out" in capsys.readouterr().err
        (copied / "train-0.jsonl").write_text((copied / "train-0.jsonl").read_text().replace("answer 5", "answer 6"))
        assert cache(tmp_path / "caches", "qa:json") == 1
        assert "split 'train' has other files" in capsys.readouterr().err


def test_one_cache_serves_several_lengths_packed_and_not(data, tmp_path):
    assert cache(tmp_path, "qa:json", "--splits", "train") == 0
    before = contents(tmp_path)
    cached = TaskRegistry.get("qa:json")
    order = [int(row["id"]) for row in caching.open_cached(str(tmp_path / "qa/json"), "train")]
    # Without a cache the examples lie as the source has them; rows that are packed of several need them in the cache's order.
    source = FunctionDataSource(lambda split, shuffle_files: [ROWS[number] for number in order], ["train"])
    uncached = cached.replace(source=source)
    cache_directories.set_global_cache_dirs([str(tmp_path)])
    try:
        for lengths in ({"inputs": 12, "targets": 6}, {"inputs": 100, "targets": 40}):
            for pack in (False, True):
                converter = EncDecFeatureConverter(pack=pack)
                found = [list(get_dataset(cached, lengths, converter, use_cached=True)), list(get_dataset(uncached, lengths, converter))]
                assert [key(row) for row in found[0]] == [key(row) for row in found[1]]
                assert len(found[0]) == 120 if not pack or lengths["inputs"] == 12 else len(found[0]) < 60
                assert found[0][0]["encoder_input_tokens"].shape == (lengths["inputs"],)
    finally:
        cache_directories.set_global_cache_dirs([])
    assert contents(tmp_path) == before


def test_a_crash_and_a_rerun_with_another_shard_count_lose_and_double_nothing(data, tmp_path, monkeypatch, capsys):
    whole = shards.write_shard
    calls = []

    def crashing(staged, features, directory, plan, path, index_path):
        calls.append(plan)
        if len(calls) == 3:
            raise BuildError("the machine went away")
        return whole(staged, features, directory, plan, path, index_path)

    monkeypatch.setattr(shards, "write_shard", crashing)
    with units_of(2000):
        assert cache(tmp_path / "a", "qa:json", "--min_shards", "5") == 1
        assert "the machine went away" in capsys.readouterr().err
        with pytest.raises(ManifestError):
            caching.open_cached(str(tmp_path / "a/qa/json"), "train")
        staged = []
        monkeypatch.setattr(shards, "write_shard", whole)
        monkeypatch.setattr(staging, "examples", lambda *arguments: staged.append(arguments) or iter(()))
        assert cache(tmp_path / "a", "qa:json", "--min_shards", "2") == 0
        assert staged == []  # what was staged is kept
    monkeypatch.undo()
    assert cache(tmp_path / "b", "qa:json", "--min_shards", "2") == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert len(caching.open_cached(str(tmp_path / "a/qa/json"), "train")) == 120


def test_a_deleted_shard_is_noticed_and_made_again(data, tmp_path, capsys):
    assert cache(tmp_path, "qa:json", "--min_shards", "2") == 0
    before = contents(tmp_path)
    os.remove(tmp_path / "qa/json" / naming.shard("train", 1, 2))
    with pytest.raises(ManifestError, match="missing, though the manifest lists it"):
        caching.open_cached(str(tmp_path / "qa/json"), "train")
    assert cache(tmp_path, "qa:json", "--min_shards", "2") == 0
    assert "the cache is made again" in capsys.readouterr().err and contents(tmp_path) == before


def test_the_view_of_seqio(data, tmp_path, capsys):
    assert cache(tmp_path, "qa:json", "--seqio_view", "--completed_file_contents", "done by hand") == 0
    directory = tmp_path / "qa/json"
    info = json.loads((directory / "info.train.json").read_text())
    assert info["num_shards"] == 1 and info["seqio_version"] == "0.0.20"
    assert info["features"]["inputs"] == {"dtype": "int32", "shape": [None]} and info["features"]["id"] == {"dtype": "int64", "shape": []}
    assert info["features"]["answers"] == {"dtype": "string", "shape": [None]}
    assert (directory / "COMPLETED").read_text() == "done by hand"
    ours = caching.open_cached(str(directory), "train")
    assert sorted((key(each) for each in ours), key=repr) == expected("qa:json")
    for name in ("manifest.json", "train.index-00000-of-00001"):
        os.remove(directory / name)
    theirs = caching.open_cached(str(directory), "train")
    assert theirs.manifest is None and [key(each) for each in theirs] == [key(each) for each in ours]
    assert cache(tmp_path, "qa:json", "--seqio_view") == 1
    assert "holds a cache of task 'qa:json' that SeqIO made" in capsys.readouterr().err
    assert cache(tmp_path, "qa:json", "--overwrite") == 0  # not for SeqIO
    assert sorted(contents(directory)) == sorted(
        ["manifest.json", *(f"{split}.{kind}-00000-of-00001" for split in ("train", "validation") for kind in ("index", "tfrecord"))]
    )


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--tasks", "nothing.*"], 2, "matches no task; registered are broken, function, lines, qa:json, qa:parquet, texts, uncached"),
        (["--tasks", "qa.*", "--excluded_tasks", "qa.*"], 2, "matches no task"),
        (["--tasks", "uncached"], 2, "none of 1 task has a CacheDatasetPlaceholder"),
        (["--tasks", "(", "--module_import", "json"], 2, "is no regular expression"),
        (["--tasks", "qa:json", "--splits", "test"], 2, "has no split 'test'; it has train, validation"),
        (["--tasks", "qa:json", "--module_import", "no.such.module"], 2, "--module_import no.such.module: cannot be imported"),
        (["--tasks", "qa:json", "--min_shards", "0"], 2, "--min_shards must be at least 1"),
        (["--tasks", "qa:json", "--min_shards", "3", "--max_shards", "2"], 2, "--max_shards must be at least --min_shards 3, got 2"),
        (["--tasks", "qa:json", "--completed_file_contents", "a"], 2, "is written with --seqio_view alone"),
        (["--tasks", "broken"], 1, "task 'broken', split 'train'"),
    ],
)
def test_mistakes_are_told_in_one_message(data, tmp_path, capsys, options, code, message):
    options = [*options, "--output_cache_dir", str(tmp_path), "--module_import", MODULE, "--direct_num_workers=1"]
    assert cache_tasks.main(options) == code
    told = " ".join(capsys.readouterr().err.split())
    assert message in told and "Traceback" not in told


def test_a_directory_with_files_of_somebody_else_is_refused(data, tmp_path, capsys):
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "thesis.tex").write_text("")
    assert cache(tmp_path, "lines") == 1
    assert "holds 1 file that no cache has, such as thesis.tex" in capsys.readouterr().err


@pytest.mark.slow
def test_no_two_tasks_of_one_job_mix(data, tmp_path):
    assert cache(tmp_path / "both", "qa:.*|lines") == 0
    assert cache(tmp_path / "one", "lines") == 0
    assert contents(tmp_path / "both" / "lines") == contents(tmp_path / "one" / "lines")
    found = {name: cache_manifest.find(str(tmp_path / "both" / name)) for name in ("qa/json", "qa/parquet", "lines")}
    assert [manifest.splits["train"].examples for manifest in found.values()] == [120, 120, 50]

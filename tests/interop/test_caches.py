"""SeqIO reading our caches, and we reading SeqIO's: the same examples."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tokenreel.tasks import caching

pytestmark = pytest.mark.interop
ROWS = [{"text": "x" * (n % 9) + f" {n}", "id": n} for n in range(60)]

OURS = """
from tokenreel import tasks as seqio
from tokenreel.tasks import vocabularies, preprocessors
from tokenreel.tasks.data_sources import JsonLinesDataSource
from tokenreel.tasks.task import CacheDatasetPlaceholder, TaskRegistry
import numpy as np

@seqio.numpy_preprocessor
def keep(dataset):
    return dataset.map(lambda ex: {"targets": ex["text"], "id": ex["id"], "score": np.float32(0.5)})

TaskRegistry.add(
    "ns:ours",
    JsonLinesDataSource({"train": "DATA"}),
    {"targets": seqio.Feature(vocabularies.ByteVocabulary())},
    [keep, preprocessors.tokenize, preprocessors.append_eos, CacheDatasetPlaceholder()],
)
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache that our job made, with SeqIO's view."""
    folder = tmp_path_factory.mktemp("interop")
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    (folder / "our_tasks.py").write_text(OURS.replace("DATA", str(folder / "rows.jsonl")))
    command = [sys.executable, "-m", "pipelines.cache_tasks", "--tasks", "ns:.*", "--module_import", "our_tasks", "--seqio_view"]
    command += ["--output_cache_dir", str(folder / "caches"), "--min_shards", "3", "--direct_num_workers=1"]
    path = f"{folder}:{__file__.rsplit('/tests/', 1)[0]}"
    done = subprocess.run(command, env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "caches"


def _task(name):
    import seqio

    features = {"targets": seqio.Feature(seqio.ByteVocabulary())}
    source = seqio.FunctionDataSource(lambda split, shuffle_files, seed=None: None, splits=["train"])
    seqio.TaskRegistry.remove(name)
    return seqio.TaskRegistry.add(name, source, features, [seqio.CacheDatasetPlaceholder(required=True)])


def _key(example):
    return sorted((name, np.asarray(value).tolist()) for name, value in example.items())


def test_seqio_reads_our_cache_as_its_own(cache):
    import seqio

    task = _task("ns:ours")
    seqio.set_global_cache_dirs([str(cache)])
    theirs = list(task.get_dataset(None, "train", use_cached=True, shuffle=False).as_numpy_iterator())
    ours = caching.open_cached(str(cache / "ns/ours"), "train")
    assert len(theirs) == len(ours) == len(ROWS)
    assert sorted(map(_key, theirs), key=repr) == sorted(map(_key, ours), key=repr)
    assert task.get_cached_stats("train") == ours.stats
    converted = seqio.get_dataset("ns:ours", {"targets": 32}, seqio.LMFeatureConverter(pack=True), "train", use_cached=True)
    packed = sum(int(np.count_nonzero(row["decoder_target_tokens"])) for row in converted.as_numpy_iterator())
    assert packed == ours.stats["targets_tokens"] + len(ROWS)


def test_seqio_reads_one_shard_of_our_cache_in_our_order(cache):
    import tensorflow as tf

    ours = caching.open_cached(str(cache / "ns/ours"), "train")
    told = json.loads((cache / "ns/ours/info.train.json").read_text())["features"]
    kinds = {"int32": tf.int64, "int64": tf.int64, "float32": tf.float32, "string": tf.string}
    described = {
        name: tf.io.FixedLenSequenceFeature([], kinds[each["dtype"]], allow_missing=True)
        if each["shape"]
        else tf.io.FixedLenFeature([], kinds[each["dtype"]])
        for name, each in told.items()
    }
    place = 0
    for shard in sorted((cache / "ns/ours").glob("train.tfrecord-*")):
        for record in tf.data.TFRecordDataset(str(shard)).map(lambda each: tf.io.parse_single_example(each, described)).as_numpy_iterator():
            assert _key(record) == _key(ours[place])
            place += 1
    assert place == len(ours)


def test_we_read_what_seqio_wrote(tmp_path):
    import seqio
    from seqio import beam_utils

    rows = [
        {"targets": np.arange(n, dtype=np.int32) + 3, "frames": np.ones((n, 2), np.float32), "text": b"t%d" % n, "id": np.int64(n)}
        for n in range(1, 30)
    ]
    task = _task("ns:theirs")
    directory = tmp_path / "ns/theirs"
    directory.mkdir(parents=True)
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    with beam.Pipeline(options=PipelineOptions(["--no_pipeline_type_check"])) as pipeline:
        examples = pipeline | beam.Create(rows)
        _ = examples | beam_utils.WriteExampleTfRecord(str(directory / "train.tfrecord"), num_shards=2)
        _ = examples | beam_utils.GetInfo(num_shards=2) | "Info" >> beam_utils.WriteJson(str(directory / "info.train.json"))
        _ = (
            examples
            | beam_utils.GetStats(output_features=task.output_features)
            | "Stats" >> beam_utils.WriteJson(str(directory / "stats.train.json"))
        )
    (directory / "COMPLETED").write_text("")
    seqio.set_global_cache_dirs([str(tmp_path)])
    theirs = list(task.get_dataset(None, "train", use_cached=True, shuffle=False).as_numpy_iterator())
    ours = list(caching.open_cached(str(directory), "train"))
    assert sorted(map(_key, theirs), key=repr) == sorted(map(_key, ours), key=repr)
    for one, other in zip(sorted(theirs, key=lambda each: each["id"]), sorted(ours, key=lambda each: each["id"]), strict=True):
        assert all(getattr(one[name], "dtype", None) == getattr(other[name], "dtype", None) for name in one)

"""The same tasks cached by either job and read by either library: unpacked, packed for the `PrePacked` converters, and as plain TFRecords.

The routes are those by which SeqIO can read what it did not write: its own cache directory with a converter, or rows that are packed
already with a `PrePacked` converter, out of a cache directory or by `TFExampleDataSource`, which needs no file beside the shards.
"""

from __future__ import annotations

import importlib
import os
import pathlib
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from pipelines import cache_tasks
from tokenreel import tasks
from tokenreel.tasks import caching

pytestmark = pytest.mark.interop

TASKS = """
import functools

import LIBRARY as seqio
import tensorflow as tf
from seqio.utils import trim_and_pack_dataset


def split(dataset):
    def pair(line):
        parts = tf.strings.split(line, "|")
        return {"inputs": parts[0], "targets": parts[1]}

    return dataset.map(pair)


steps = [split, functools.partial(seqio.preprocessors.tokenize, copy_pretokenized=False), seqio.preprocessors.append_eos]


def add(name, features, *more):
    source = seqio.TextLineDataSource({"train": "DATA"})
    steps_and_place = [*steps, *more, seqio.CacheDatasetPlaceholder()]
    seqio.TaskRegistry.add(name, source, preprocessors=steps_and_place, output_features=features)


def add_packed(name, converter, pre_packed, lengths):
    features = {name: seqio.Feature(seqio.ByteVocabulary(), required=False) for name in ("inputs", "targets")}  # gone once rows are packed
    rows = {name: seqio.Feature(seqio.PassThroughVocabulary(300), add_eos=False) for name in pre_packed.BATCH_FEATURES}

    def pack(dataset):
        return seqio.preprocessors.apply_feature_converter(dataset, lengths, converter)

    add(name, features | rows, pack)


add("rows:pairs", {name: seqio.Feature(seqio.ByteVocabulary()) for name in ("inputs", "targets")})
add_packed("rows:lm", seqio.LMFeatureConverter(pack=True, apply_length_check=False), seqio.PrePackedLMFeatureConverter, {"targets": 24})
prefix = seqio.PrefixLMFeatureConverter(pack=True, apply_length_check=False)
add_packed("rows:prefix_lm", prefix, seqio.PrePackedPrefixLMFeatureConverter, {"inputs": 14, "targets": 18})


def pack_pairs(dataset):
    return trim_and_pack_dataset(dataset, {"inputs": 12, "targets": 16})


further = [name + end for name in ("inputs", "targets") for end in ("_segment_ids", "_positions")]
pairs = {name: seqio.Feature(seqio.ByteVocabulary()) for name in ("inputs", "targets")}
add("rows:packed_pairs", pairs | {name: seqio.Feature(seqio.PassThroughVocabulary(300), add_eos=False) for name in further}, pack_pairs)
"""

PACKED = {
    "rows:lm": ("PrePackedLMFeatureConverter", {"targets": 24}, 24),
    "rows:prefix_lm": ("PrePackedPrefixLMFeatureConverter", {"inputs": 14, "targets": 18}, 32),
}
LENGTHS = {"inputs": 12, "targets": 16}
PAIRS = {name + end: length for name, length in LENGTHS.items() for end in ("", "_segment_ids", "_positions")}
CONVERTERS = [("EncDecFeatureConverter", LENGTHS), ("PrefixLMFeatureConverter", LENGTHS), ("LMFeatureConverter", {"targets": 16})]
EXAMPLES = 90
Counted = Callable[[str, int, int], None]


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, pathlib.Path]]:
    """The cache directories that each job made, by its name; the tasks stand in both registries."""
    import seqio

    folder = tmp_path_factory.mktemp("packed")
    rng = random.Random(0)
    lines = ["x" * rng.randrange(1, 12) + "|" + "".join(rng.choices("abcde", k=rng.randrange(1, 16))) for _ in range(EXAMPLES)]
    (folder / "rows.txt").write_text("\n".join(lines) + "\n")
    made = {name: folder / name for name in ("ours", "theirs")}
    for name, library in (("our_rows", "tokenreel.tasks"), ("their_rows", "seqio")):
        (folder / f"{name}.py").write_text(TASKS.replace("LIBRARY", library).replace("DATA", str(folder / "rows.txt")))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        for registry in (seqio.TaskRegistry, tasks.TaskRegistry):
            patch.setattr(registry, "_REGISTRY", {})
        for module in ("our_rows", "their_rows"):
            importlib.import_module(module)
        arguments = ["--tasks", "rows:.*", "--output_cache_dir", str(made["ours"]), "--min_shards", "2", "--seqio_view"]
        assert cache_tasks.main([*arguments, "--module_import", "our_rows", "--direct_num_workers=1"]) == 0
        command = [sys.executable, "-m", "seqio.scripts.cache_tasks_main", "--tasks=rows:.*", f"--output_cache_dir={made['theirs']}"]
        command += ["--min_shards=2", "--module_import=their_rows"]
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
        yield made
        for module in ("our_rows", "their_rows"):
            sys.modules.pop(module)
    seqio.set_global_cache_dirs([])
    tasks.set_global_cache_dirs([])


def as_lists(rows: Any) -> list[Any]:
    """Each row by the types and values of its features."""
    found = [{name: np.asarray(value) for name, value in row.items()} for row in rows.as_numpy_iterator()]
    return [sorted((name, value.dtype.name, value.tolist()) for name, value in row.items()) for row in found]


def task_of(library: Any, directory: pathlib.Path, name: str) -> Any:
    """The task, made anew: one of SeqIO's goes on with the directory that it found its cache in first."""
    library.set_global_cache_dirs([str(directory)])
    task = library.TaskRegistry.get(name).replace()
    assert pathlib.Path(task.cache_dir).is_relative_to(directory)
    return task


def read(library: Any, directory: pathlib.Path, name: str, lengths: Any, converter: Any, **more: Any) -> Any:
    """Reads a cached task, in the order of its files."""
    task = task_of(library, directory, name)
    return library.get_dataset(task, lengths, converter, use_cached=True, shuffle=False, verbose=False, **more)


@pytest.mark.parametrize("by", ["ours", "theirs"])
def test_examples_and_padded_rows_are_the_same(caches: dict[str, pathlib.Path], by: str, counted: Counted) -> None:
    import seqio

    both, stats = [], []
    for library in (seqio, tasks):
        task = task_of(library, caches[by], "rows:pairs")
        both.append(sorted(as_lists(task.get_dataset(None, "train", use_cached=True, shuffle=False))))
        stats.append(dict(task.get_cached_stats("train")))
    assert both[0] == both[1] and len(both[0]) == EXAMPLES and stats[0] == stats[1]
    rows = 0
    for converter, lengths in CONVERTERS:
        theirs, ours = (
            sorted(as_lists(read(library, caches[by], "rows:pairs", lengths, getattr(library, converter)(pack=False))))
            for library in (seqio, tasks)
        )
        assert theirs == ours and len(ours) == EXAMPLES
        rows += len(ours)
    counted(f"caches that {'we wrote' if by == 'ours' else 'SeqIO wrote'}, rows read alike", rows, len(CONVERTERS) * EXAMPLES)


def test_packed_rows_are_the_same_in_the_same_order(caches: dict[str, pathlib.Path], counted: Counted) -> None:
    """Files are read in turns by SeqIO, one after the other here, and its packer closes rows early: so both get its order, and its rule."""
    import seqio

    task = task_of(seqio, caches["ours"], "rows:pairs")
    examples = list(task.get_dataset(None, "train", use_cached=True, shuffle=False).as_numpy_iterator())
    for converter, lengths in CONVERTERS:
        theirs = as_lists(read(seqio, caches["ours"], "rows:pairs", lengths, getattr(seqio, converter)(pack=True)))
        made = getattr(tasks, converter)(pack=True, compat="seqio", apply_length_check=False)
        cut = [{name: value[: lengths[name]] for name, value in example.items() if name in lengths} for example in examples]
        ours = as_lists(made(tasks.ExampleStream.from_examples(cut), lengths))
        assert theirs == ours and 10 < len(ours) < EXAMPLES
        counted("caches, rows that are packed when they are read", len(ours), len(theirs))


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("by", ["ours", "theirs"])
def test_rows_that_a_job_packed_are_the_same(caches: dict[str, pathlib.Path], by: str, name: str, counted: Counted) -> None:
    import seqio

    converter, lengths, width = PACKED[name]
    theirs, ours = (read(library, caches[by], name, lengths, getattr(library, converter)()) for library in (seqio, tasks))
    batches = read(seqio, caches[by], name, lengths, getattr(seqio, converter)(), batch_size=4)
    assert {tuple(spec.shape) for spec in batches.element_spec.values()} == {(4, width)}
    found = sorted(as_lists(ours))
    assert sorted(as_lists(theirs)) == found and 10 < len(found) < EXAMPLES
    if by == "ours":
        made = tasks.get_dataset(name, lengths, getattr(tasks, converter)(), use_cached=False, shuffle=False)
        assert sorted(as_lists(made)) == found, "the cache holds what the steps make"
    counted(f"caches of packed rows that {'we wrote' if by == 'ours' else 'SeqIO wrote'}", len(found), len(found))


@pytest.mark.parametrize("by", ["ours", "theirs"])
def test_pairs_that_a_job_packed_are_the_same(caches: dict[str, pathlib.Path], by: str, counted: Counted) -> None:
    import seqio

    name, converter = "rows:packed_pairs", "PrePackedEncDecFeatureConverter"
    theirs, ours = (read(library, caches[by], name, PAIRS, getattr(library, converter)(pack=False)) for library in (seqio, tasks))
    batches = read(seqio, caches[by], name, PAIRS, seqio.PrePackedEncDecFeatureConverter(pack=False), batch_size=4)
    shapes = {feature: tuple(spec.shape) for feature, spec in batches.element_spec.items()}
    assert shapes == {feature: (4, 12 if feature.startswith("encoder") else 16) for feature in shapes} and len(shapes) == 8
    found = sorted(as_lists(ours))
    assert sorted(as_lists(theirs)) == found and 10 < len(found) < EXAMPLES
    assert any(max(row["encoder_segment_ids"]) > 1 for row in map(_by_name, found))
    counted(f"caches of packed pairs that {'we wrote' if by == 'ours' else 'SeqIO wrote'}", len(found), len(found))


def test_packed_pairs_are_read_as_plain_records_shard_by_shard(caches: dict[str, pathlib.Path], counted: Counted) -> None:
    import seqio
    import tensorflow as tf

    directory, converter = caches["ours"] / "rows/packed_pairs", seqio.PrePackedEncDecFeatureConverter(pack=False)
    stream = tasks.ExampleStream.from_examples(list(caching.open_cached(str(directory), "train")))
    ours = as_lists(tasks.PrePackedEncDecFeatureConverter(pack=False)(stream, PAIRS))
    described = {each: tf.io.FixedLenFeature([length], tf.int64) for each, length in PAIRS.items()}

    def cast(dataset: Any) -> Any:
        return dataset.map(lambda row: {each: tf.cast(value, tf.int32) for each, value in row.items()})

    found = []
    for shard in sorted(directory.glob("train.tfrecord-*")):
        source = seqio.TFExampleDataSource({"train": str(shard)}, feature_description=described)
        task = seqio.Task("plain", source, seqio.TaskRegistry.get("rows:packed_pairs").output_features, preprocessors=[cast])
        found += as_lists(seqio.get_dataset(task, PAIRS, converter, shuffle=False, verbose=False))
    assert found == ours and len(found) > 10
    counted("plain records that we wrote, read by SeqIO", len(found), len(ours))


def _by_name(row: list[Any]) -> dict[str, Any]:
    """The values of a row that `as_lists` gave."""
    return {name: values for name, _, values in row}


@pytest.mark.parametrize("name", PACKED)
def test_rows_are_read_as_plain_records_shard_by_shard(caches: dict[str, pathlib.Path], name: str, counted: Counted) -> None:
    import seqio
    import tensorflow as tf

    converter, lengths, width = PACKED[name]
    directory = caches["ours"] / name.replace(":", "/")
    ours = as_lists(tasks.ExampleStream.from_examples(list(caching.open_cached(str(directory), "train"))))
    described = {each: tf.io.FixedLenFeature([width], tf.int64) for each in getattr(seqio, converter).BATCH_FEATURES}

    def cast(dataset: Any) -> Any:
        return dataset.map(lambda row: {each: tf.cast(value, tf.int32) for each, value in row.items()})

    found = []
    for shard in sorted(directory.glob("train.tfrecord-*")):
        source = seqio.TFExampleDataSource({"train": str(shard)}, feature_description=described)
        task = seqio.Task("plain", source, seqio.TaskRegistry.get(name).output_features, preprocessors=[cast])
        found += as_lists(seqio.get_dataset(task, lengths, getattr(seqio, converter)(), shuffle=False, verbose=False))
    assert found == ours and len(found) > 10
    counted("plain records that we wrote, read by SeqIO", len(found), len(ours))

"""How fast tasks and feature converters are beside SeqIO, on the same cached task; needs SeqIO (`make test-interop` installs it).

    .venv-interop/bin/python -m benchmarks.tasks
    .venv-interop/bin/python -m benchmarks.tasks --examples 20000 --check

`convert` gives a converter examples that lie in memory; `get_dataset` reads a cache in SeqIO's format, which both read. Times are processor
seconds of all threads, so that examples a second are those of one core; each line is a JSON object. `cache_job` runs both jobs that make
caches over `--megabytes` of JSON lines: seconds, processor seconds and peak memory of all their processes. `--check` fails when
`get_dataset` is not ten times as fast as SeqIO's, or the job not five times.
"""

import argparse
import itertools
import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks import task_caches
from benchmarks.packing import web_lengths

LENGTHS = {"inputs": 512, "targets": 512}
MEASURES = ("convert", "get_dataset", "cache_job")
TARGETS = {"get_dataset": 10.0, "cache_job": 5.0}  # times as fast as SeqIO


def make_examples(count: int) -> list[dict[str, Any]]:
    """Draws examples as long as documents of the web, a third of each in front as its inputs."""
    rng = np.random.default_rng(0)
    lengths = np.minimum(web_lengths(count * 2000)[:count], LENGTHS["targets"])
    ids = [rng.integers(3, 32000, length).astype(np.int32) for length in lengths.tolist()]
    return [{"inputs": one[: len(one) // 3], "targets": one} for one in ids]


def write_cache(directory: pathlib.Path, examples: list[dict[str, Any]]) -> None:
    """Writes the cache of the task `cached` as SeqIO does."""
    import tensorflow as tf

    folder = directory / "cached"
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "train.tfrecord-00000-of-00001")) as writer:
        for example in examples:
            features = {name: tf.train.Feature(int64_list=tf.train.Int64List(value=ids)) for name, ids in example.items()}
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    told = {"dtype": "int32", "shape": [None]}
    info = {"features": {"inputs": told, "targets": told}, "num_shards": 1, "seqio_version": "0.0.20"}
    (folder / "info.train.json").write_text(json.dumps(info))
    (folder / "stats.train.json").write_text(json.dumps({"examples": len(examples)}))
    (folder / "COMPLETED").write_text("")


def register(library: Any, directory: pathlib.Path) -> None:
    """Registers the task, whose source is never read."""
    vocabulary = library.PassThroughVocabulary(32000)
    library.TaskRegistry.add(
        "cached",
        source=library.FunctionDataSource(lambda split, shuffle_files, seed=None: None, splits=["train"]),
        preprocessors=[library.CacheDatasetPlaceholder(required=True)],
        output_features={name: library.Feature(vocabulary, add_eos=False) for name in LENGTHS},
    )
    library.set_global_cache_dirs([str(directory)])


def cost(read: Callable[[], Iterator[Any]]) -> tuple[float, int]:
    """Measures one pass: processor seconds, and rows. The first row, before which graphs are made, is not counted."""
    rows = read()
    next(rows)
    start = time.process_time()
    count = sum(1 for _ in rows)
    return time.process_time() - start, count


def measure(what: str, name: str, pack: bool, examples: list[dict[str, Any]]) -> dict[str, Any]:
    """Compares one converter: over examples in memory, or behind a cached task."""
    import seqio
    import tensorflow as tf

    from tokenreel import tasks

    lengths = {"targets": LENGTHS["targets"]} if name == "LMFeatureConverter" else LENGTHS
    theirs, ours = (getattr(library, name)(pack=pack) for library in (seqio, tasks))
    if what == "convert":
        signature = {feature: tf.TensorSpec([None], tf.int32) for feature in LENGTHS}
        ragged = {feature: tf.ragged.constant([one[feature] for one in examples], dtype=tf.int32) for feature in LENGTHS}
        dataset = tf.data.Dataset.from_tensor_slices(ragged).map(
            lambda one: {k: tf.ensure_shape(one[k], s.shape) for k, s in signature.items()}
        )
        stream = tasks.ExampleStream.from_examples(examples)
        readers = (lambda: theirs(dataset, lengths).as_numpy_iterator(), lambda: iter(ours(stream, lengths)))
    else:
        common: dict[str, Any] = {"task_feature_lengths": lengths, "use_cached": True, "shuffle": False, "verbose": False}
        readers = (
            lambda: seqio.get_dataset("cached", feature_converter=theirs, **common).as_numpy_iterator(),
            lambda: iter(tasks.get_dataset("cached", feature_converter=ours, **common)),
        )
    (their_seconds, their_rows), (our_seconds, our_rows) = (cost(read) for read in readers)
    return {
        "measures": what,
        "converter": name,
        "pack": pack,
        "seqio_examples_per_second": round(len(examples) / their_seconds),
        "examples_per_second": round(len(examples) / our_seconds),
        "times_seqio": round(their_seconds / our_seconds, 1),
        "rows": our_rows + 1,
        "seqio_rows": their_rows + 1,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--converters", nargs="*", default=["EncDecFeatureConverter", "LMFeatureConverter", "PrefixLMFeatureConverter"])
    parser.add_argument("--measures", nargs="*", default=MEASURES, choices=MEASURES)
    parser.add_argument("--megabytes", type=float, default=100, help="of text for `cache_job`, at most 110")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir(), "tokenreel-benchmark-tasks"))
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    import seqio

    from tokenreel import tasks

    rows = []

    def tell(row: dict[str, Any]) -> None:
        print(json.dumps(row), flush=True)
        rows.append(row)

    readers = [each for each in options.measures if each != "cache_job"]
    if readers:
        with tempfile.TemporaryDirectory() as folder:
            examples = make_examples(options.examples)
            write_cache(pathlib.Path(folder), examples)
            for library in (seqio, tasks):
                register(library, pathlib.Path(folder))
            for what, name, pack in itertools.product(readers, options.converters, (False, True)):
                tell(measure(what, name, pack, examples))
    if "cache_job" in options.measures:
        tell(task_caches.compare(options.work, options.megabytes))
    missed = [row for row in rows if row["times_seqio"] < TARGETS.get(row["measures"], 0)]
    for row in missed if options.check else ():
        print(f"{row['measures']}: {row['times_seqio']} times as fast as SeqIO, wanted {TARGETS[row['measures']]:.0f}", file=sys.stderr)
    return int(options.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())

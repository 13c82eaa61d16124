"""The loader against a raw array and other readers of the same tokens: `python -m benchmarks.loader [--examples 20000] [--rounds 5]`.

Every reader delivers shuffled batches of 64 x 2,048 int32 tokens from a warm page cache. They take turns in one process (so that a busy
machine slows all alike) on one core, some tenths of a second each, for several rounds. Prints wall and CPU time a token, and the median
ratio to `np.take` on a raw memory map in the same round. Then, each in a process of its own on a million examples: the time from
opening to the first batch, from opening to the first batch in the middle of an epoch, and the memory it takes.

Readers whose packages are missing are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tokenreel
from tokenreel.format import example_codec, naming, schema, tfrecord
from tokenreel.format.manifest import FIXED, INT64_LIST, Manifest, ShardInfo, SplitInfo, VocabularyInfo
from tokenreel.format.schema import Feature
from tokenreel.loaders.order.permutation import Permutation
from tokenreel.loaders.order.plan import Plan

BATCH, LENGTH, VOCABULARY = 64, 2048, 32_000
SHARDS = 8
SHUFFLE_BUFFER = 4096

Reader = Callable[[], Iterator[Any]]


def tokens_of(first: int, count: int, length: int) -> np.ndarray:
    """Some tokens, with the skew of text: [count, length] uint16."""
    rng = np.random.Generator(np.random.PCG64(first))
    return np.minimum(rng.exponential(VOCABULARY / 12, (count, length)), VOCABULARY - 1).astype(np.uint16)


def write_dataset(directory: pathlib.Path, examples: int, length: int, record_format: str = FIXED, shards: int = SHARDS) -> None:
    """A dataset as a build writes it, of made-up tokens."""
    directory.mkdir(parents=True)
    features = (
        Feature(name=schema.DOCUMENT_STARTS, dtype=schema.BIT, shape=(length,)),
        Feature(name=schema.EXAMPLE_ID, dtype="int64"),
        Feature(name=schema.TOKENS, dtype="uint16", shape=(length,)),
    )
    fixed_format = example_codec.make_fixed_format(features)
    per_shard = -(-examples // shards)
    infos = []
    for index in range(shards):
        name, size, crc = naming.shard("train", index, shards), 0, 0
        first = index * per_shard
        count = min(per_shard, examples - first)
        with open(directory / name, "wb") as file:
            for start in range(first, first + count, 8192):
                number = min(8192, first + count - start)
                arrays = {
                    schema.TOKENS: tokens_of(start, number, length),
                    schema.DOCUMENT_STARTS: np.zeros((number, length), np.bool_),
                    schema.EXAMPLE_ID: np.arange(start, start + number),
                }
                if record_format == FIXED:
                    data = example_codec.encode_fixed(fixed_format, arrays).tobytes()
                else:
                    data = b"".join(example_codec.encode_lists({schema.TOKENS: list(arrays[schema.TOKENS])}))
                file.write(data)
                size += len(data)
                crc = tfrecord.crc32c(data)  # of the last part; nothing here reads it
        infos.append(ShardInfo(file=name, records=count, bytes=size, crc32c=crc))
    vocabulary = VocabularyInfo(
        kind="bytes", fingerprint="", vocab_size=VOCABULARY, pad_id=0, bos_id=None, eos_id=1, unk_id=2, file=None, options={}
    )
    manifest = Manifest(
        seq_len=length,
        overlap=0,
        pad_id=0,
        record_format=record_format,
        features=features,
        splits={"train": SplitInfo(shards=tuple(infos))},
        vocabulary=vocabulary,
        config={},
        seed=0,
        algorithms={},
        totals={},
        files=(),
        tokenreel_version=tokenreel.__version__,
    )
    (directory / naming.MANIFEST).write_text(manifest.to_text(), encoding="utf-8")


def prepare(root: pathlib.Path, examples: int) -> None:
    """Writes the same tokens in every format."""
    write_dataset(root / "fixed", examples, LENGTH)
    write_dataset(root / "lists", examples, LENGTH, INT64_LIST)
    dataset = tokenreel.load(root / "fixed")
    raw = np.lib.format.open_memmap(root / "raw.npy", mode="w+", dtype=np.int32, shape=(examples, LENGTH))
    for start in range(0, examples, 4096):
        raw[start : start + 4096] = dataset.take(np.arange(start, min(examples, start + 4096)), ["tokens"])["tokens"]
    raw.flush()
    try:
        from array_record.python.array_record_module import ArrayRecordWriter
    except ImportError:
        return
    writer = ArrayRecordWriter(str(root / "tokens.array_record"), "group_size:1,uncompressed")
    for row in raw:
        writer.write(row.tobytes())
    writer.close()


def readers(root: pathlib.Path) -> dict[str, Reader]:
    """Endless iterators over shuffled batches, by name; each yields something of [64, 2048] int32."""
    examples = len(tokenreel.load(root / "fixed"))

    def raw() -> Iterator[Any]:
        array = np.load(root / "raw.npy", mmap_mode="r")
        for epoch in range(1 << 30):
            order = np.random.Generator(np.random.PCG64(epoch)).permutation(examples)
            for start in range(0, examples - BATCH + 1, BATCH):
                yield np.take(array, order[start : start + BATCH], axis=0)

    def copy() -> Iterator[Any]:
        source = np.zeros((32, BATCH, LENGTH), np.int32)
        while True:
            for batch in source:
                yield batch.copy()

    def ours(features: list[str] | None = None, prefetch: int = 0, shuffle: bool = True, **options: Any) -> Reader:
        def read() -> Iterator[Any]:
            dataset = tokenreel.load(root / "fixed", **options)
            return dataset.batches(BATCH, features=features or ["tokens"], prefetch=prefetch, shuffle=shuffle)

        return read

    found: dict[str, Reader] = {
        "np.take on a raw int32 memory map": raw,
        "copy of an int32 batch": copy,
        "tokenreel": ours(),
        "tokenreel, stored order": ours(shuffle=False),
        "tokenreel, every CRC checked": ours(crc="always"),
        "tokenreel, pread": ours(backend="pread"),
        "tokenreel, prefetch thread": ours(prefetch=2),
        "tokenreel, inputs, targets, weights, segment ids, positions": ours(
            ["inputs", "targets", "loss_weights", "segment_ids", "positions"]
        ),
    }
    return found | _tensorflow_readers(root) | _grain_readers(root, examples)


def _tensorflow_readers(root: pathlib.Path) -> dict[str, Reader]:
    try:
        import tensorflow as tf
    except ImportError:
        return {}
    from tokenreel.loaders.to_tensorflow import parsed

    def one_by_one(folder: str, decode: Callable[[Any], Any]) -> Reader:
        def read() -> Iterator[Any]:
            names = sorted(str(path) for path in (root / folder).glob("train.tfrecord-*"))
            dataset = tf.data.Dataset.from_tensor_slices(names).shuffle(len(names)).repeat()
            dataset = dataset.interleave(tf.data.TFRecordDataset, cycle_length=16, num_parallel_calls=tf.data.AUTOTUNE)
            dataset = dataset.map(decode, num_parallel_calls=tf.data.AUTOTUNE).shuffle(SHUFFLE_BUFFER)
            return iter(dataset.batch(BATCH, drop_remainder=True).prefetch(2).as_numpy_iterator())

        return read

    def lists(record: Any) -> Any:
        spec = {"tokens": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True)}
        return tf.cast(tf.io.parse_single_example(record, spec)["tokens"], tf.int32)

    def fixed(record: Any) -> Any:
        found = tf.io.parse_single_example(record, {"tokens": tf.io.FixedLenFeature([], tf.string)})
        return tf.cast(tf.io.decode_raw(found["tokens"], tf.uint16), tf.int32)

    def batched() -> Iterator[Any]:
        dataset = parsed(root / "fixed", batch_size=BATCH, shuffle_buffer=SHUFFLE_BUFFER, features=["tokens"])
        return iter(dataset.repeat().as_numpy_iterator())

    return {
        "SeqIO's way: tf.data, Int64List, parse_single_example": one_by_one("lists", lists),
        "tf.data, our records, parse_single_example": one_by_one("fixed", fixed),
        "tf.data, our records, parse_example of batches": batched,
    }


def _grain_readers(root: pathlib.Path, examples: int) -> dict[str, Reader]:
    try:
        import grain
    except ImportError:
        return {}

    def pipeline(source: Any, decode: Callable[[Any], Any]) -> Iterator[Any]:
        dataset = grain.MapDataset.source(source).shuffle(seed=1).repeat().map(decode).batch(BATCH)
        return iter(dataset.to_iter_dataset(grain.ReadOptions(num_threads=0)))

    def array_record() -> Iterator[Any]:
        source = grain.sources.ArrayRecordDataSource(str(root / "tokens.array_record"))
        return pipeline(source, lambda record: np.frombuffer(record, np.int32))

    def ours() -> Iterator[Any]:
        from tokenreel.loaders.to_grain import ExampleSource

        return pipeline(ExampleSource(tokenreel.load(root / "fixed"), ["tokens"]), lambda example: example["tokens"])

    return {"Grain + ArrayRecord": array_record, "Grain + our records": ours}


def take_turns(contestants: dict[str, Reader], rounds: int, seconds: float) -> dict[str, list[tuple[float, float]]]:
    """Runs all readers in turn; gives (wall, CPU) nanoseconds a token for each round of each."""
    iterators = {}
    for name, make in contestants.items():
        iterators[name] = make()
        next(iterators[name])
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, iterator in iterators.items():
            count = 0
            cpu, start = time.process_time(), time.perf_counter()
            while time.perf_counter() - start < seconds:
                for _ in range(4):
                    next(iterator)
                count += 4
            wall, used = time.perf_counter() - start, time.process_time() - cpu
            if number:  # the first round warms caches and thread pools
                measured[name].append((wall / count / BATCH / LENGTH * 1e9, used / count / BATCH / LENGTH * 1e9))
    return measured


_CHILD = """
import json, os, sys, time
def memory():
    fields = dict(line.split(":") for line in open("/proc/self/status"))
    return {name: int(fields[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile")} if "RssAnon" in fields else {}
import numpy, tokenreel
path, batch = sys.argv[1], int(sys.argv[2])
before, start = memory(), time.perf_counter()
dataset = tokenreel.load(path)
opened = time.perf_counter()
batches = dataset.batches(batch, prefetch=0)
next(batches)
first = time.perf_counter()
state = batches.get_state()
middle = len(dataset) // 2 // batch * batch
begin = time.perf_counter()
resumed = dataset.batches(batch, prefetch=0)
resumed.set_state(state | {"cursor": middle})
next(resumed)
resume = time.perf_counter()
for _ in range(3000):
    next(batches)
after = memory()
print(json.dumps({"open": opened - start, "first": first - start, "resume": resume - begin,
                  **{name: after[name] - before[name] for name in after}}))
"""


def start_up(path: pathlib.Path, times: int = 5) -> dict[str, float]:
    """Medians over fresh processes."""
    found = []
    for _ in range(times):
        result = subprocess.run([sys.executable, "-c", _CHILD, str(path), str(BATCH)], capture_output=True, text=True, check=True)
        found.append(json.loads(result.stdout))
    return {name: statistics.median(entry[name] for entry in found) for name in found[0]}


def planning() -> dict[str, float]:
    """Nanoseconds a sample, 8,192 planned at once."""
    plans = {
        "one source": Plan([""], [(1 << 30) + 1], seed=1),
        "mixture of three": tokenreel_mixture(),
    }
    samples = np.arange(8192)
    found = {}
    for name, plan in plans.items():
        times = []
        for number in range(30):
            start = time.perf_counter()
            plan.locate(samples + number * len(samples))
            times.append(time.perf_counter() - start)
        found[name] = statistics.median(times) / len(samples) * 1e9
    permutation = Permutation(1 << 40, 1)
    start = time.perf_counter()
    for _ in range(100):
        permutation(samples)
    found["permutation alone"] = (time.perf_counter() - start) / 100 / len(samples) * 1e9
    return found


def tokenreel_mixture() -> Plan:
    """Three sources of unlike sizes."""
    from tokenreel.loaders.order.stages import MixtureStage

    return Plan(["a", "b", "c"], [10**9, 10**8, 10**7], seed=1, stages=[MixtureStage(weights=(70, 20, 10))])


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--start-examples", type=int, default=1_000_000, help="examples of 128 tokens for start-up and memory")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.4, help="of each turn")
    parser.add_argument("--all-cores", action="store_true", help="do not confine the process to one core")
    parser.add_argument("--directory", type=pathlib.Path, help="keeps the data here for another run")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    if not arguments.all_cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    root = arguments.directory or pathlib.Path(tempfile.mkdtemp())
    try:
        if not (root / "raw.npy").exists():
            prepare(root, arguments.examples)
        contestants = readers(root)
        measured = take_turns(contestants, arguments.rounds, arguments.seconds)
        raw, *_ = measured.values()
        print(f"{'shuffled batches of 64 x 2,048 tokens':62}{'Mtok/s':>8}{'x raw':>7}{'CPU ns/token':>14}")
        for name, rounds in measured.items():
            wall, cpu = (statistics.median(column) for column in zip(*rounds, strict=True))
            ratio = statistics.median(base[0] / own[0] for base, own in zip(raw, rounds, strict=True))
            print(f"{name:62}{1e3 / wall:8.0f}{ratio:7.2f}{cpu:14.2f}")
        if not (root / "many").exists():
            write_dataset(root / "many", arguments.start_examples, 128, shards=64)
        found = start_up(root / "many")
        print(
            f"\n{arguments.start_examples:,} examples: open {found['open'] * 1e3:.1f} ms, open to first batch {found['first'] * 1e3:.1f} "
            "ms, "
            f"resume in the middle {found['resume'] * 1e3:.1f} ms"
        )
        if "RssAnon" in found:
            print(f"memory after 3,000 batches: private +{found['RssAnon']:.1f} MB, mapped page cache +{found['RssFile']:.0f} MB")
        print("planning: " + ", ".join(f"{name} {value:.0f} ns/sample" for name, value in planning().items()))
    finally:
        if arguments.directory is None:
            shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()

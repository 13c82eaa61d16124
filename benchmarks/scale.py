"""What planning a large corpus costs on the one worker that does it: the code of a build, on stage files that exist in the table alone.

    python -m benchmarks.scale                                # 10,000 and 100,000 stage files of 64 MB, 0.6 and 6.4 TB of text
    python -m benchmarks.scale --stages 1000000
    python -m benchmarks.scale --build 50000                  # also a real build of so many files in an emulator of a bucket
    python -m benchmarks.scale --check                        # fails where a target is missed

Each line is a JSON object. Times are processor seconds of one core, each size in a process of its own. Documents and tokens of a stage file
are those of web text: 28,000 documents of 570 tokens in 64 MB. Targets: 10 s in all at 100,000 stage files, no element over 64 kB, and nine
of ten indexes found in the cache in a scan of 400 files; a manifest with a table of 100,000 shards in a tenth of the time of JSON.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import multiprocessing
import pathlib
import pickle
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np

from tokenreel.assembly import dead_letters
from tokenreel.assembly.shard_statistics import ShardStatistics
from tokenreel.config.build import ExecutionConfig, JobConfig, PackingConfig, VocabularyConfig
from tokenreel.config.corpus import SourceConfig
from tokenreel.config.workspace import Workspace
from tokenreel.curation import hash_tables
from tokenreel.planning import group_table, merge_plan, read_budget, shard_plan, stage_table
from tokenreel.planning.document_order import DocumentOrder
from tokenreel.planning.group_documents import DocumentGroup
from tokenreel.planning.group_table import GroupSize
from tokenreel.planning.recipe import Recipe, make_recipe, vocabulary_info
from tokenreel.planning.selection import StageSelection
from tokenreel.staging import range_cache
from tokenreel.staging.columns import StageInfo
from tokenreel.storage import column_file, files
from tokenreel.storage.claims import Folder
from tokenreel.storage.column_file import ColumnFile, Row
from tokenreel.storage.gathering import Gathered
from tokenreel.vocabularies.byte_level import ByteVocabulary

DOCUMENTS, TOKENS = 28_000, 28_000 * 570  # in a stage file
_INDEX_BYTES = 16 * DOCUMENTS + 8
LARGEST = 1 << 16  # bytes of an element
_ROWS_A_WORKER = 1000  # stage files that one worker tells of before its rows travel
_T = TypeVar("_T")


class _Steps:
    """Times steps, and remembers the largest element that was handed on."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.largest: dict[str, int] = {}

    def time(self, name: str, function: Any, *arguments: Any) -> Any:
        """Calls a function and counts its seconds to those of a step."""
        begin = time.process_time()
        found = function(*arguments)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - begin
        return found

    def element(self, name: str, value: _T) -> _T:
        """Measures what is handed on, as a runner would encode it."""
        self.largest[name] = max(self.largest.get(name, 0), len(pickle.dumps(value)))
        return value


def selections(count: int, directory: str) -> Iterator[StageSelection]:
    """Makes up stage files, in the order of the text."""
    numbers = dict.fromkeys(("id_bytes", "metadata_bytes", "fault_bytes", "dead_letters", "sentences", "characters_removed", "hashes"), 0)
    for block in range(count):
        train, rest = (DOCUMENTS * 99 // 100, TOKENS * 99 // 100, 0, 0), (DOCUMENTS // 100, TOKENS // 100, 0, 0)
        info = StageInfo(
            path=files.join(directory, f"{block:032x}-00000.stage"),
            source=0,
            block=block,
            part=0,
            last=True,
            body=4096,
            documents=DOCUMENTS,
            tokens=TOKENS,
            token_dtype="uint16",
            ordered=False,
            filtered={"too_few_characters": block % 100, "bad_word": 1},
            lines_removed={},
            modified=0,
            repeats=0,
            **numbers,
        )
        yield StageSelection(info=info, splits={"train": (train,), "validation": (rest,)})


def gather(steps: _Steps, rows: Iterator[Row], directory: str, stem: str, sort_by: tuple[str, ...]) -> ColumnFile:
    """Gathers rows as workers do, each with some of them, and the last step of the combiner, which one worker does."""
    whole, worker = Gathered(Folder(directory), stem), Gathered(Folder(directory), stem)
    for count, row in enumerate(rows, 1):
        worker.add(row)
        if count % _ROWS_A_WORKER == 0:
            worker.shrink()
            steps.time(f"gather {stem}", whole.merge, steps.element(f"{stem} on their way", worker))
            worker = Gathered(Folder(directory), stem)
    whole.merge(worker)
    return steps.element(f"table of {stem}", steps.time(f"gather {stem}", whole.finish, sort_by))


def sizes(recipe: Recipe, groups: list[DocumentGroup], order: DocumentOrder) -> Iterator[GroupSize]:
    """Makes up what workers would measure: the groups of a split are equally large."""
    for split in ("train", "validation"):
        own = [group for group in groups if group.split == split]
        documents, tokens = order.totals(split)
        for i, group in enumerate(own):
            part = (documents * (i + 1) // len(own) - documents * i // len(own), tokens * (i + 1) // len(own) - tokens * i // len(own))
            yield GroupSize(
                group=group,
                documents=part[0],
                tokens=part[1],
                added_tokens=0,
                examples=0,
                dropped_documents=0,
                dropped_document_tokens=0,
                dropped_tokens={},
                document_lengths=(0,) * shard_plan.HISTOGRAM_BINS,
            )


def make(directory: str) -> Recipe:
    """What a build of such a corpus makes: 2,048 tokens in an example, shuffled, 64 MB in a block."""
    config = JobConfig(
        output=directory,
        sources=(SourceConfig(files=("/nowhere/*.jsonl",), format="jsonl"),),
        vocabulary=VocabularyConfig(kind="bytes"),
        packing=PackingConfig(seq_len=2048, last_example="pad"),
        splits={"validation": 0.01},
        execution=ExecutionConfig(block_mb=64, max_reads=1 << 62),
    )
    return make_recipe(config, ByteVocabulary())


def plan(count: int) -> dict[str, Any]:
    """Plans a corpus of so many stage files."""
    steps = _Steps()
    with tempfile.TemporaryDirectory() as directory:
        recipe = make(directory)
        rows = (stage_table.to_row(steps.element("stage file", each)) for each in selections(count, directory))
        stages = gather(steps, rows, directory, "stages", stage_table.SORT_BY)
        size = files.size(stages.path)
        order = DocumentOrder(recipe, steps.time("load table", stage_table.load, stages))
        inputs = {source.name: {"files": count, "bytes": count * 64_000_000} for source in recipe.config.sources}
        work = Workspace.of(recipe.config, "build")
        steps.time("check dead letters", dead_letters.check, recipe.config, work, inputs, order.selections)
        groups = steps.time("cut groups", lambda: [steps.element("group", group) for group in order.groups()])
        reads = steps.time("count reads", read_budget.plan_reads, order, groups)
        limited = dataclasses.replace(recipe.config, execution=ExecutionConfig(block_mb=64))
        sizes_of_sources = steps.time("plan merges", merge_plan.measure, order)
        merges = steps.time("plan merges", merge_plan.plan, limited, sizes_of_sources, shard_plan.tokens_per_shard(recipe))
        measured = (group_table.to_row(steps.element("size of a group", each)) for each in sizes(recipe, groups, order))
        found = gather(steps, measured, directory, "groups", group_table.SORT_BY)
        plans = steps.time("plan", lambda: shard_plan.plan_all(order, column_file.read(found)))
        planned = steps.element("plan", steps.time("plan", shard_plan.write, directory, plans))
        shards = steps.time("list shards", lambda: [(i, j) for i, each in enumerate(plans) for j in range(len(each.shards))])
        steps.time("identity, once in a process", lambda: order.selections.identity)
        some = shards[:: max(1, len(shards) // 1000)]
        begin = time.process_time()
        for i, j in some:
            str(shard_plan.load(recipe, planned)[i].shards[j])
        per_shard = (time.process_time() - begin) / len(some)
    one = (
        "gather stages",
        "load table",
        "check dead letters",
        "cut groups",
        "count reads",
        "plan merges",
        "gather groups",
        "plan",
        "list shards",
    )
    return {
        "what": "planning",
        "stage files": count,
        "text TB": round(count * 64e-6, 2),
        "groups": len(groups),
        "shards": len(shards),
        "reads": reads.reads,
        "merge levels": merges.levels,
        "reads then": merges.reads,
        "seconds": {name: round(value, 2) for name, value in steps.seconds.items()},
        "seconds in all": round(sum(steps.seconds[name] for name in one), 2),
        "milliseconds a shard": round(per_shard * 1e3, 2),
        "table MB": round((size or 0) / 1e6, 1),
        "peak MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
        "element bytes": steps.largest,
        "largest element": max(steps.largest.values()),
    }


def scan(count: int) -> dict[str, Any]:
    """Reads the indexes of so many stage files, one after the other and again, as the groups of a shuffle do."""
    kept, read = range_cache._RangeCache(range_cache._INDEX_BYTES), [0]

    def fetch(begin: int, size: int) -> bytes:
        read[0] += 1
        return bytes(size)

    for _ in range(5):
        read[0] = 0
        for number in range(count):
            kept.read(str(number), 0, _INDEX_BYTES, fetch)
    return {"what": "index cache", "files": count, "hits": round(1 - read[0] / count, 3)}


def statistics(vocab_size: int) -> dict[str, Any]:
    """Says how large what was counted in a shard is, on its way and in the shard's record."""
    info = dataclasses.replace(vocabulary_info(make("/nowhere").config, ByteVocabulary()), vocab_size=vocab_size)
    counted = ShardStatistics.zero(info)
    counted.token_counts = np.arange(vocab_size, dtype=np.int64)
    with tempfile.TemporaryDirectory() as directory:
        stored = counted.store(directory)
        return {"what": "statistics", "token ids": vocab_size, "element": len(pickle.dumps(stored)), "dense": len(pickle.dumps(counted))}


def opening(count: int) -> dict[str, Any]:
    """Reads the manifest of a dataset of so many shards, as every `load` does: as JSON alone, and with the table of shards beside it."""
    from tests.datasets import random_examples, write_dataset
    from tokenreel.format import manifest, naming, shard_table

    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        made = write_dataset(root, {"train": random_examples(64, 16, seed=0)}, per_shard=64)
        shard = made.splits["train"].shards[0]
        shards = tuple(dataclasses.replace(shard, file=naming.shard("train", i, count), crc32c=i) for i in range(count))
        made = dataclasses.replace(made, splits={"train": manifest.SplitInfo(shards=shards)}, files=())
        seconds = {}
        for name, version in (("JSON", manifest.FORMAT_VERSION), ("table", manifest.TABLE_VERSION)):
            if name == "JSON" and count > 100_000:
                continue  # seconds become minutes
            written = dataclasses.replace(made, format_version=version)
            if name == "table":
                (root / naming.SHARD_TABLE).write_bytes(shard_table.to_bytes(written.shard_table))
            (root / naming.MANIFEST).write_text(written.to_text())
            begin = time.process_time()
            found = manifest.read(directory)
            seconds[name] = round(time.process_time() - begin, 3)
            assert found.splits["train"].shards[count - 1].crc32c == count - 1
        sizes = {name: round((root / name).stat().st_size / 1e6, 3) for name in (naming.MANIFEST, naming.SHARD_TABLE)}
    return {"what": "opening", "shards": count, "seconds": seconds, "MB": sizes}


def duplicates(count: int) -> dict[str, Any]:
    """Plans the search for duplicate documents in the tables of so many stage files: merge levels and reads within the default budget."""
    execution, entries = ExecutionConfig(), count * DOCUMENTS
    levels = hash_tables.levels(count, entries, execution.merge_files, execution.max_reads)
    without, reads = (hash_tables.reads(count, entries, execution.merge_files, level) for level in (0, levels))
    return {"what": "duplicates", "stage files": count, "reads": without, "merge levels": levels, "reads then": reads}


def build(count: int) -> dict[str, Any]:
    """Builds a dataset of so many small files, each a block of its own, in an emulator of a bucket that keeps all in memory."""
    from pipelines import cli
    from tests import buckets
    from tokenreel.format import manifest

    with buckets.server() as server, tempfile.TemporaryDirectory() as directory:
        bucket = f"gs://{buckets.BUCKET}"
        server.fill((f"text/{number:06d}.jsonl", b'{"text": "some text of file %06d"}\n' % number) for number in range(count))
        config = pathlib.Path(directory) / "config.yaml"
        config.write_text(
            f"output: {bucket}/dataset\nsources: [{{files: ['{bucket}/text/*.jsonl'], format: jsonl}}]\nvocabulary: {{kind: bytes}}\n"
            "packing: {seq_len: 64}\nexecution: {block_mb: 0.00006}\n"
        )
        server.requests.clear()
        begin, cpu = time.monotonic(), time.process_time()
        code = cli.main(["build", str(config)])
        return {
            "what": "build in an emulator",
            "files": count,
            "exit code": code,
            "documents": manifest.read(f"{bucket}/dataset").totals["documents_read"] if code == 0 else None,
            "seconds": round(time.monotonic() - begin, 1),
            "CPU seconds, the emulator's too": round(time.process_time() - cpu, 1),
            "requests": dict(server.requests),
            "requests a file": round(sum(server.requests.values()) / count, 1),
            "peak MB, the objects too": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", type=int, nargs="+", default=[10_000, 100_000], metavar="N", help="numbers of stage files")
    parser.add_argument("--build", type=int, metavar="N", help="also build a dataset of N small files in an emulator of a bucket")
    parser.add_argument("--check", action="store_true", help="exit code 1 where a target is missed")
    arguments = parser.parse_args()
    missed = []
    for count in arguments.stages:
        with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            found = pool.submit(plan, count).result()
        print(json.dumps(found), flush=True)
        if found["largest element"] > LARGEST or (count <= 100_000 and found["seconds in all"] > 10):
            missed.append(f"planning of {count:,} stage files")
    for count in (290, 300, 400, 1000):
        found = scan(count)
        print(json.dumps(found), flush=True)
        if count <= 400 and found["hits"] <= 0.9:
            missed.append(f"index cache over {count} files")
    for vocab_size in (32_000, 256_000):
        found = statistics(vocab_size)
        print(json.dumps(found), flush=True)
        if found["element"] > LARGEST:
            missed.append(f"statistics of {vocab_size:,} ids")
    for count in arguments.stages:
        print(json.dumps(duplicates(count)), flush=True)
    for count in (10_000, 100_000, 1_000_000):
        found = opening(count)
        print(json.dumps(found), flush=True)
        if count == 100_000 and found["seconds"]["table"] > 0.1 * found["seconds"]["JSON"]:
            missed.append(f"opening of {count:,} shards")
    if arguments.build:
        with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            found = pool.submit(build, arguments.build).result()
        print(json.dumps(found), flush=True)
        if found["documents"] != arguments.build:
            missed.append(f"build of {arguments.build:,} files")
    if missed:
        print(f"missed: {', '.join(missed)}", file=sys.stderr)
    return int(arguments.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())

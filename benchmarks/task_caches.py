"""Caching a task of JSON lines beside SeqIO's own job: for `benchmarks.tasks`, which prints the row.

The text and the model are the same, and so are the steps: a field of each line is tokenized, and kept as text. The task of SeqIO reads
lines and parses them with Python, since it has no source of JSON lines; ours is the same task, moved as docs/tasks.md says. SeqIO's job
runs with its defaults but for the number of shards, ours with its own.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import sys
from typing import Any

from benchmarks import corpus
from benchmarks.processes import Cost, measure

_SEQIO = """
import json, os
import seqio
import tensorflow as tf


@seqio.map_over_dataset
def parse(line):
    text = tf.numpy_function(lambda line: json.loads(line)["text"].encode(), [line], tf.string)
    return {"targets": tf.ensure_shape(text, [])}


source = seqio.TextLineDataSource({"train": os.environ["BENCHMARK_TEXT"]})
"""
_OURS = """
import os
from tokenreel import tasks as seqio


@seqio.map_examples
def parse(example):
    return {"targets": example["text"]}


source = seqio.JsonLinesDataSource({"train": os.environ["BENCHMARK_TEXT"]})
"""
_TASK = """
seqio.TaskRegistry.add(
    "benchmark",
    source=source,
    preprocessors=[parse, seqio.preprocessors.tokenize, seqio.CacheDatasetPlaceholder(), seqio.preprocessors.append_eos],
    output_features={"targets": seqio.Feature(seqio.SentencePieceVocabulary(os.environ["BENCHMARK_MODEL"]))},
)
"""


def prepare(work: pathlib.Path, megabytes: float) -> tuple[pathlib.Path, str]:
    """Makes the text and the model, or finds those made before: English documentation of Debian, and 32,000 pieces."""
    from benchmarks.build import train

    work.mkdir(parents=True, exist_ok=True)
    whole = work / "english.jsonl"
    if not whole.exists():
        part = work / "english.part"
        corpus.write(corpus.KINDS["english"], part, 110_000_000)
        part.rename(whole)
    model = work / "unigram.model"
    if not model.exists():
        train([str(whole)], str(model.with_suffix("")), "unigram")
    text = work / f"{megabytes:g}.jsonl"
    size = 0
    with open(whole, "rb") as lines, open(text, "wb") as out:
        for line in lines:
            if size >= megabytes * 1e6:
                break
            size += out.write(line)
    return text, str(model)


def compare(work: pathlib.Path, megabytes: float) -> dict[str, Any]:
    """Runs both jobs, one after the other, and compares what they cost and what they counted."""
    text, model = prepare(work, megabytes)
    folder = work / "jobs"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, head in (("seqio_task", _SEQIO), ("our_task", _OURS)):
        (folder / f"{name}.py").write_text(head + _TASK)
    root = pathlib.Path(__file__).parents[1]
    environment = {"PYTHONPATH": f"{folder}:{root}", "BENCHMARK_TEXT": str(text), "BENCHMARK_MODEL": model, "TF_CPP_MIN_LOG_LEVEL": "3"}
    ours = [sys.executable, "-m", "pipelines.cache_tasks", "--tasks", "benchmark", "--module_import", "our_task"]
    theirs = [sys.executable, "-m", "seqio.scripts.cache_tasks_main", "--tasks=benchmark", "--module_import=seqio_task", "--min_shards=1"]
    our_cost = measure([*ours, "--output_cache_dir", str(folder / "ours")], environment)
    their_cost = measure([*theirs, f"--output_cache_dir={folder / 'theirs'}"], environment)
    counted = json.loads((folder / "theirs/benchmark/stats.train.json").read_text())
    counts = json.loads((folder / "ours/benchmark/manifest.json").read_text())["splits"]["train"]["statistics"]
    if counts["examples"] != counted["examples"]:
        raise SystemExit(f"{counts['examples']:,} examples here, {counted['examples']:,} of SeqIO")
    told = {
        "measures": "cache_job",
        "megabytes": round(text.stat().st_size / 1e6, 1),
        "examples": counts["examples"],
        "tokens": counts["targets_tokens"],
        "seqio_tokens": counted["targets_tokens"],  # TensorFlow Text cuts runs such as "-----" elsewhere, at equal scores
        "times_seqio": round(their_cost.wall / our_cost.wall, 1),
        "times_seqio_cpu": round(their_cost.cpu / our_cost.cpu, 1),
    }
    return told | _told("", our_cost) | _told("seqio_", their_cost)


def _told(name: str, cost: Cost) -> dict[str, Any]:
    peak = cost.proportional or cost.resident
    return {f"{name}seconds": round(cost.wall, 1), f"{name}cpu_seconds": round(cost.cpu, 1), f"{name}peak_megabytes": round(peak)}

"""Other tools that tokenize a corpus, each in a virtual environment of its own, for `benchmarks.build`.

They do less than a build: datatrove's tokenizing job writes the tokens of each file, its documents shuffled within the file; SeqIO's
caching job writes the tokens of each document, shuffled. Neither packs examples.
"""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.processes import Cost, measure

REQUIREMENTS = {
    "datatrove": ["datatrove[io,processing]"],
    # The newest SentencePiece wants another protobuf than TensorFlow; Beam needs the last one to write TFRecords.
    "seqio": ["seqio[cache-tasks]", "sentencepiece<0.2.2", "google-crc32c"],
}

_DATATROVE = """
import sys
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer

if __name__ == "__main__":
    folder, tokenizer, output, tasks, workers = sys.argv[1:]
    steps = [JsonlReader(folder, glob_pattern="*.jsonl"), DocumentTokenizer(output, tokenizer, eos_token="</s>", seed=0)]
    LocalPipelineExecutor(steps, tasks=int(tasks), workers=int(workers), logging_dir=f"{output}/logs").run()
"""

_SEQIO_TASK = """
import os
import seqio
import tensorflow as tf

seqio.TaskRegistry.add(
    "benchmark",
    source=seqio.TFExampleDataSource(
        {"train": os.environ["BENCHMARK_FILES"]}, feature_description={"targets": tf.io.FixedLenFeature([], tf.string)}
    ),
    preprocessors=[seqio.preprocessors.tokenize, seqio.CacheDatasetPlaceholder(), seqio.preprocessors.append_eos],
    output_features={"targets": seqio.Feature(seqio.SentencePieceVocabulary(os.environ["BENCHMARK_MODEL"]), add_eos=True)},
)
"""

_TO_TFRECORD = """
import json, pathlib, sys
import tensorflow as tf

for path in map(pathlib.Path, sys.argv[2:]):
    with tf.io.TFRecordWriter(f"{sys.argv[1]}/{path.name}.tfrecord") as out, open(path, encoding="utf-8") as file:
        for line in file:
            value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[json.loads(line)["text"].encode()]))
            out.write(tf.train.Example(features=tf.train.Features(feature={"targets": value})).SerializeToString())
"""


def install(name: str, work: pathlib.Path) -> pathlib.Path | None:
    """Makes the tool's virtual environment, or finds it; None, and a line on stderr, where it cannot be installed."""
    folder = work / f"venv-{name}"
    done = folder / "installed"
    if not done.exists():
        print(f"installing {name} into {folder}", file=sys.stderr)
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS[name]],
        ):
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode:
                reason = [line for line in result.stderr.splitlines() if line.startswith("ERROR")] or result.stderr.splitlines()
                print(f"without {name}, which cannot be installed here: {reason[-1] if reason else command}", file=sys.stderr)
                return None
        done.touch()
    return folder / "bin"


def prepare(name: str, binaries: pathlib.Path, paths: Sequence[str], model: str, folder: pathlib.Path) -> None:
    """Brings the text and the model into the tool's form; not part of what is measured."""
    folder.mkdir(parents=True)
    if name == "datatrove":
        from benchmarks.tokenization import convert

        convert(model).save(str(folder / "tokenizer.json"))
        (folder / "job.py").write_text(_DATATROVE)
    else:
        (folder / "text").mkdir()
        (folder / "benchmark_task.py").write_text(_SEQIO_TASK)
        # SeqIO reads lines or tf.train.Examples, and documents have several lines.
        command = [str(binaries / "python"), "-c", _TO_TFRECORD, str(folder / "text"), *paths]
        subprocess.run(command, check=True, capture_output=True)


def run(name: str, binaries: pathlib.Path, paths: Sequence[str], model: str, folder: pathlib.Path, workers: int) -> Cost:
    """Runs the tool on text that `prepare` has prepared."""
    output = folder / "output"
    shutil.rmtree(output, ignore_errors=True)
    if name == "datatrove":
        job = [str(binaries / "python"), str(folder / "job.py"), str(pathlib.Path(paths[0]).parent), str(folder / "tokenizer.json")]
        # Its tokenizer would use all cores in one worker.
        return measure([*job, str(output), str(len(paths)), str(workers)], {"TOKENIZERS_PARALLELISM": "false"})
    mode = "in_memory" if workers == 1 else "multi_processing"
    options = f"--runner=FnApiRunner,--direct_num_workers={workers},--direct_running_mode={mode}"
    command = [str(binaries / "seqio_cache_tasks"), "--tasks=benchmark", "--module_import=benchmark_task", f"--min_shards={len(paths)}"]
    return measure(
        [*command, f"--output_cache_dir={output}", f"--pipeline_options={options}"],
        {
            "PYTHONPATH": str(folder),
            "BENCHMARK_MODEL": model,
            "BENCHMARK_FILES": str(folder / "text/*.tfrecord"),
            "CUDA_VISIBLE_DEVICES": "",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        },
    )

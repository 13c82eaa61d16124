"""How long it takes to begin: a build of a few documents, and a process that is to tokenize.

    python -m benchmarks.starting [--repeats 5] [--documents 20] [--check 1.7] [--models PATH...]

A table of builds has a line for each vocabulary, and says how long they take beside `import apache_beam`: medians of seconds, and of the
ratios to the `import apache_beam` that ran just before, in a process of its own. `--check` fails where the ratio of the wall times is
higher. Each build is made once before, for what is compiled or kept at the first time; `first` is the ratio of wall times where nothing is
kept of the model.

A second table says how long a worker takes from the end of its imports (NumPy, Numba, the tokenizer's library, ours) to the ids of a first
text: with nothing kept of the model (`built`), and from kept arrays (`mapped`). `--models` are files of tokenizers: `tokenizer.json`, a
SentencePiece model.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import pickle
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

import yaml

from tokenreel.vocabularies.loading import load_vocabulary

IMPORT = [sys.executable, "-c", "import apache_beam"]
WORKER = """
import pickle, sys, time
import numpy as np, numba
import tokenreel.vocabularies.huggingface, tokenreel.vocabularies.sentencepiece.vocabulary, tokenreel.vocabularies.loading
__import__(sys.argv[2])
text = np.frombuffer("A first text, of 2 lines.\\nIt has — all — kinds: 漢字, ñ.".encode(), dtype=np.uint8)
wall, cpu = time.perf_counter(), time.process_time()
with open(sys.argv[1], "rb") as file:
    vocabulary = pickle.load(file)
vocabulary.encode_block(text, np.array([0, len(text)]))
print(time.process_time() - cpu, time.perf_counter() - wall)
"""
LIBRARIES = {"huggingface": "tokenizers", "sentencepiece": "sentencepiece"}


def run(command: Sequence[str], cache: pathlib.Path | None = None) -> tuple[float, float]:
    """Runs a command, with another cache of the user's if one is given; gives its seconds of CPU and of wall time.

    Raises:
      SystemExit: it failed.
    """
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)} if cache else None
    with tempfile.TemporaryFile() as words:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=words, stderr=words, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            words.seek(0)
            raise SystemExit(f"{' '.join(command)}\n{words.read().decode(errors='replace')[-3000:]}")
    return usage.ru_utime + usage.ru_stime, wall


def measure_builds(folder: pathlib.Path, vocabularies: Mapping[str, Mapping[str, object]], documents: int, repeats: int) -> float:
    """Prints the table of builds; returns the highest ratio of wall times."""
    text = "This is a document, one of a few. It says again and again that number {} is what it is, and nothing else.\n"
    lines = (json.dumps({"text": text.format(number) * 5}) + "\n" for number in range(documents))
    (folder / "documents.jsonl").write_text("".join(lines))
    print(f"{'build':16} {'CPU s':>6} {'wall s':>6} {'/ import, CPU':>14} {'/ import, wall':>14} {'first':>6}", flush=True)
    highest = 0.0
    for name, vocabulary in vocabularies.items():
        sources = [{"files": [str(folder / "documents.jsonl")]}]
        config = {"output": str(folder / name), "sources": sources, "vocabulary": dict(vocabulary), "packing": {"seq_len": 256}}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        command = [sys.executable, "-m", "pipelines.cli", "build", str(folder / "config.yaml"), "--overwrite"]  # what `tokenreel` runs
        run(command)
        turns = [(run(IMPORT), run(command), run(command, folder / f"cache-{name}-{number}")) for number in range(repeats)]
        cpu, wall = (statistics.median(built[i] for _, built, _ in turns) for i in (0, 1))
        ratios = [statistics.median(built[i] / imported[i] for imported, built, _ in turns) for i in (0, 1)]
        first = statistics.median(built[1] / imported[1] for imported, _, built in turns)
        print(f"{name:16} {cpu:6.2f} {wall:6.2f} {ratios[0]:14.2f} {ratios[1]:14.2f} {first:6.2f}", flush=True)
        highest = max(highest, ratios[1])
    return highest


def measure_workers(folder: pathlib.Path, models: Sequence[str], repeats: int) -> None:
    """Prints the table of workers."""
    print(f"\n{'worker: seconds to its first ids':60} {'built: CPU':>10} {'wall':>6} {'mapped: CPU':>11} {'wall':>6}", flush=True)
    for path in models:
        kind = "huggingface" if path.endswith(".json") else "sentencepiece"
        with open(folder / "vocabulary", "wb") as file:
            pickle.dump(load_vocabulary(kind, path), file)
        medians = []
        for kept in (False, True):
            found = []
            for number in range(repeats + 1):
                cache = folder / "cache" / ("kept" if kept else str(number))
                command = [sys.executable, "-c", WORKER, str(folder / "vocabulary"), LIBRARIES[kind]]
                environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
                found.append(subprocess.run(command, check=True, capture_output=True, env=environment).stdout.split())
            medians += [statistics.median(float(each[i]) for each in found[1:]) for i in (0, 1)]
        print(f"{path[-60:]:60} {medians[0]:10.2f} {medians[1]:6.2f} {medians[2]:11.2f} {medians[3]:6.2f}", flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--documents", type=int, default=20)
    parser.add_argument("--check", type=float, metavar="RATIO")
    parser.add_argument("--models", nargs="*", default=[], metavar="PATH")
    arguments = parser.parse_args()
    vocabularies: dict[str, Mapping[str, object]] = {"bytes": {"kind": "bytes"}}
    for path in arguments.models:
        kind = "huggingface" if path.endswith(".json") else "sentencepiece"
        vocabularies[f"{kind}-{len(vocabularies)}"] = {"kind": kind, "path": os.path.abspath(path)}
    with tempfile.TemporaryDirectory() as name:
        highest = measure_builds(pathlib.Path(name), vocabularies, arguments.documents, arguments.repeats)
        measure_workers(pathlib.Path(name), arguments.models, arguments.repeats)
    if arguments.check is not None and highest > arguments.check:
        raise SystemExit(
            f"a build takes {highest:.2f} times the wall time of `import apache_beam`, and at most {arguments.check} is allowed"
        )


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()

"""A whole build against the bare tokenizer on the same text: `python -m benchmarks.build [--corpus DIRECTORY] [--megabytes 200]`.

Prints, for each layout and number of workers, CPU seconds, their ratio to `SentencePieceProcessor.encode` of the same documents, wall
seconds and peak resident memory of the largest process. `--corpus` is a directory of JSON lines, by default one that
`python -m benchmarks.corpus` makes. `--growth` also builds a quarter and a half of the text, to show what grows with it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import yaml

_BARE = """
import json, sys, time, sentencepiece
processor = sentencepiece.SentencePieceProcessor(model_file=sys.argv[1])
cpu = tokens = 0
batch = []
def flush():
    global cpu, tokens
    start = time.process_time()
    tokens += sum(map(len, processor.encode(batch, num_threads=1)))
    cpu += time.process_time() - start
    batch.clear()
for path in sys.argv[2:]:
    for line in open(path, encoding="utf-8"):
        batch.append(json.loads(line)["text"])
        if len(batch) == 1000:
            flush()
flush()
print(cpu, tokens)
"""


def select(corpus: pathlib.Path, folder: pathlib.Path, megabytes: float) -> list[str]:
    """Takes lines from every file of the corpus in turn, about so much text in files of 64 MB; returns their paths."""
    paths: list[str] = []
    written = in_file = 0
    with contextlib.ExitStack() as stack:
        sources = [stack.enter_context(open(path, encoding="utf-8")) for path in sorted(corpus.glob("*.jsonl"))]
        out = None
        while sources and written < megabytes * 1e6:
            for source in list(sources):
                line = source.readline()
                if not line:
                    sources.remove(source)
                    continue
                if out is None or in_file > 64e6:
                    paths.append(str(folder / f"{len(paths):04d}.jsonl"))
                    out, in_file = stack.enter_context(open(paths[-1], "w", encoding="utf-8")), 0
                out.write(line)
                written += len(line.encode())
                in_file += len(line.encode())
    return paths


def train(paths: list[str], prefix: str, kind: str) -> str:
    """Trains a 32k model on a sample of the text."""
    import sentencepiece

    def sample() -> Iterator[str]:
        for path in paths:
            with open(path, encoding="utf-8") as file:
                for number, line in enumerate(file):
                    if number % (10 * len(paths)) == 0:
                        yield from (part for part in json.loads(line)["text"][:20_000].split("\n") if part.strip())

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=sample(),
        model_prefix=prefix,
        model_type=kind,
        vocab_size=32_000,
        byte_fallback=True,
        num_threads=os.cpu_count(),
        minloglevel=2,
        hard_vocab_limit=False,
    )
    return f"{prefix}.model"


def measure(command: list[str]) -> tuple[float, float, float]:
    """Runs a command; CPU seconds, wall seconds, and peak memory of the largest process in MB."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(errors.decode()[-2000:])
    return usage.ru_utime + usage.ru_stime, time.monotonic() - start, usage.ru_maxrss / 1024


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=pathlib.Path, help="directory of JSON lines")
    parser.add_argument("--megabytes", type=float, default=200)
    parser.add_argument("--kind", choices=["unigram", "bpe"], default="unigram")
    parser.add_argument("--layouts", nargs="+", default=["wrap", "best_fit"])
    parser.add_argument("--growth", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        corpus = arguments.corpus
        if corpus is None:
            corpus = folder / "corpus"
            command = [sys.executable, "-m", "benchmarks.corpus", str(corpus), "--megabytes", str(int(arguments.megabytes))]
            subprocess.run(command, check=True)
        paths = select(corpus, folder, arguments.megabytes)
        size = sum(os.path.getsize(path) for path in paths) / 1e6
        model = train(paths, str(folder / "model"), arguments.kind)
        out = subprocess.run([sys.executable, "-c", _BARE, model, *paths], check=True, capture_output=True).stdout.split()
        bare = float(out[0])
        print(f"{size:,.0f} MB of JSON lines, {int(out[1]):,} tokens; bare encode ({arguments.kind}, 32k): {bare:.1f} CPU s")
        print(f"{'layout':10} {'workers':>7} {'MB':>6} {'CPU s':>7} {'/ bare':>6} {'wall s':>7} {'peak MB':>8}")
        for layout in arguments.layouts:
            for workers in (1, 2):
                shares = (0.25, 0.5, 1.0) if arguments.growth else (1.0,)
                for share in shares:
                    chosen = paths[: max(1, round(len(paths) * share))]
                    config = {
                        "output": str(folder / "dataset"),
                        "sources": [{"files": chosen}],
                        "vocabulary": {"path": model},
                        "packing": {"mode": layout, "seq_len": 2048},
                    }
                    (folder / "config.yaml").write_text(yaml.safe_dump(config))
                    options = ["--overwrite", f"--direct_num_workers={workers}"]
                    cpu, wall, peak = measure([sys.executable, "-m", "pipelines.build", str(folder / "config.yaml"), *options])
                    text = sum(os.path.getsize(path) for path in chosen) / 1e6
                    print(
                        f"{layout:10} {workers:7} {text:6.0f} {cpu:7.1f} {cpu / (bare * text / size):6.2f} {wall:7.1f} {peak:8.0f}",
                        flush=True,
                    )


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()

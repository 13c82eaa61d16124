"""Encoding of every kind of vocabulary beside its library, on the texts that suit our loops least: a table of ratios.

    python -m benchmarks.tokenization --beside libraries [--kilobytes 150] [--kinds ...] [--texts ...] [--check]

Small models of each kind are trained once, on Debian's manual pages and code (`benchmarks.corpus`), and kept in `--work`; `--models` names
further files of `tokenizer.json`. Texts are natural ones, and made-up ones of characters and words that hardly come twice, of documents of
one character, of names of added tokens, of what our loops leave to the library.

A round encodes a text by the library and by our vocabulary, in turns, in CPU seconds of the process: both just loaded (cold:
nothing is in the memo, no character is known, and the library's own cache is empty; what is built at the first use is there), and both
again (warm). The library is called in the way that is fastest in one thread, and gets and gives what ours does: the bytes of all documents
become Python strings, and their ids one array of int32. A cell of the table is cold / warm: how many times as fast as the library ours is,
medians over the rounds.

`--check` fails where a cell is below 0.95 (after being measured again, with three times the rounds, and without the 0.3 ms that a call may
take of itself), or where ids differ, which it always compares.
"""

from __future__ import annotations

import argparse
import base64
import functools
import itertools
import json
import os
import pathlib
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import gigatoken_race
from benchmarks.gigatoken_race import block, seconds_of, split
from tokenreel.vocabularies.loading import load_vocabulary

LEAST = 0.95
CALL = 0.0003  # seconds of a call that are no matter of the text: arrays are made, a slice is looked at
ROUNDS, BUDGET = 4, 1.5  # of a cell: at most so many, and none begins when so many CPU seconds were spent
PIECES, SAMPLE = 8000, 1_000_000  # of the models that are trained: pieces, bytes of each text
NATURAL = ("english", "python", "korean", "chinese")
NAMES = [f"<name{i}>" for i in range(20)]
ASKED = "<left>"  # the name of an added token that strips the space to its left: documents with it are left to the library
Texts = Callable[[int], list[str]]


def _letters(points: Sequence[int], per_document: int = 3000) -> Texts:
    """Makes documents of code points by chance."""

    def make(size: int) -> list[str]:
        source, found, made = random.Random(0), [], 0
        while made < size:
            found.append("".join(map(chr, source.choices(points, k=per_document))))
            made += len(found[-1].encode())
        return found

    return make


def _words(make_word: Callable[[random.Random], str], space: str = " ", per_document: int = 400) -> Texts:
    """Makes documents of words by chance."""

    def make(size: int) -> list[str]:
        source, found, made = random.Random(0), [], 0
        while made < size:
            found.append(space.join(make_word(source) for _ in range(per_document)))
            made += len(found[-1].encode())
        return found

    return make


def _each_once(first: int, end: int) -> Texts:
    """Makes documents in which every character stands once, in an order by chance."""

    def make(size: int) -> list[str]:
        points = random.Random(0).sample(range(first, end), min(end - first, size // len(chr(end - 1).encode())))
        return ["".join(map(chr, points[i : i + 1000])) for i in range(0, len(points), 1000)]

    return make


def _emoji(source: random.Random) -> str:
    parts = [chr(source.randrange(0x1F300, 0x1F600)) + source.choice(["", "\u200d", "\ufe0f", "\U0001f3fd"]) for _ in range(4)]
    return "".join(parts) + "".join(chr(source.randrange(0x1F1E6, 0x1F200)) for _ in range(2))


def _marked(source: random.Random) -> str:
    return "".join(source.choice("aeioubcdn") + chr(source.randrange(0x300, 0x370)) * source.randrange(3) for _ in range(6))


ANY = [point for point in range(0x20, 0x110000) if not 0xD800 <= point < 0xE000]
TEXTS: Mapping[str, Texts] = {
    "random ASCII": _letters(range(32, 127)),
    "random bytes": _letters(range(256)),
    "any code point": _letters(ANY),
    "Chinese by chance": _letters(range(0x4E00, 0x9FA6)),
    "Chinese, once each": _each_once(0x4E00, 0x9FA6),
    "rare, once each": _each_once(0x20000, 0x2A6D0),
    "syllables, once each": _each_once(0xAC00, 0xD7A4),
    "digits": _letters(range(48, 58)),
    "numbers": _words(lambda source: str(source.randrange(10**9))),
    "one word": lambda size: ["".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=1_000_000))],
    "one word of digits": lambda size: ["".join(random.Random(0).choices("0123456789", k=size))],
    "emoji": _words(_emoji),
    "marks": _words(_marked),
    "hexadecimal": _words(lambda source: f"{source.getrandbits(64):016X}"),
    "base64": _words(lambda source: base64.b64encode(source.randbytes(54)).decode(), "\n", 50),
    "spaces": _words(lambda source: "x" + source.choice(" \t\n") * source.randrange(60), ""),
    "names": _words(lambda source: source.choice(NAMES)),
    "left": _words(lambda source: source.choice([ASKED, "word", "other", "the"]), " ", 50),
    "empty": lambda size: [""] * (size * 4 // 3),
    "one character": lambda size: random.Random(0).choices([*map(chr, range(32, 0x2000))], k=size * 4 // 3),
    "one letter": lambda size: random.Random(0).choices("abcdefghijklmnopqrstuvwxyz .,\n", k=size * 4 // 3),
}


class Kind:
    """A vocabulary, as its library and we load it."""

    def __init__(self, options: dict[str, Any], load: Callable[[], Callable[[list[bytes]], list[Any]]]) -> None:
        """Keeps what loads it.

        Args:
          options: the `vocabulary` of a config.
          load: loads the library's, and gives what encodes documents: a list of the ids of each.
        """
        self._options, self._load = options, load

    def library(self) -> Callable[[list[bytes]], tuple[Any, Any]]:
        """Loads the library's anew: what encodes documents to int32 ids end to end and [n] int64 lengths."""
        encode = self._load()
        encode([b"a"])

        def encode_block(data: list[bytes]) -> tuple[Any, Any]:
            found = encode(data)
            lengths = np.fromiter(map(len, found), dtype=np.int64, count=len(found))
            if found and isinstance(found[0], np.ndarray):
                return np.concatenate(found), lengths
            return np.fromiter(itertools.chain.from_iterable(found), dtype=np.int32, count=int(lengths.sum())), lengths

        return encode_block

    def ours(self) -> Any:
        """Loads it anew, with nothing in its memo."""
        from tokenreel.vocabularies import huggingface
        from tokenreel.vocabularies.ranks import vocabulary as ranks

        huggingface._FAST_PATHS.clear()
        ranks._MEMOS.clear()
        vocabulary = load_vocabulary(**self._options)
        vocabulary.encode_block(*block(["a"]))  # what is built at the first use is loaded
        vocabulary.encode("a")  # so is the library, for what is left to it
        return vocabulary


def _hugging_face(path: pathlib.Path) -> Kind:
    def load() -> Callable[[list[bytes]], list[Any]]:
        import tokenizers

        library = tokenizers.Tokenizer.from_file(str(path))
        library.encode_special_tokens = True
        library.no_padding()
        library.no_truncation()

        def encode(data: list[bytes]) -> list[Any]:
            return [found.ids for found in library.encode_batch_fast([each.decode() for each in data], add_special_tokens=False)]

        return encode

    return Kind({"kind": "huggingface", "path": str(path), "eos_id": 1}, load)


def _train(name: str, work: pathlib.Path, sample: Sequence[str]) -> pathlib.Path:
    """Trains the `tokenizer.json` of a name, or finds the one trained before."""
    import tokenizers
    from tokenizers import AddedToken, models, normalizers, pre_tokenizers, trainers

    path = work / f"{name}.json"
    if path.exists():
        return path
    print(f"training {path}", file=sys.stderr)
    unknown = "[UNK]"
    special = [unknown, "</s>"]
    model, trainer = {
        "byte-level": (
            models.BPE(),
            trainers.BpeTrainer(vocab_size=PIECES, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=special),
        ),
        "WordPiece": (models.WordPiece(unk_token=unknown), trainers.WordPieceTrainer(vocab_size=PIECES, special_tokens=special)),
        "WordLevel": (models.WordLevel(unk_token=unknown), trainers.WordLevelTrainer(vocab_size=PIECES, special_tokens=special)),
        "Unigram": (_unigram(work, sample), None),
    }[name.partition(",")[0]]
    tokenizer = tokenizers.Tokenizer(model)
    bert = pre_tokenizers.BertPreTokenizer()
    tokenizer.pre_tokenizer, tokenizer.normalizer = {
        "byte-level": (pre_tokenizers.ByteLevel(add_prefix_space=False), None),
        "WordPiece": (bert, normalizers.BertNormalizer()),
        "WordPiece, cased": (bert, normalizers.BertNormalizer(handle_chinese_chars=False, lowercase=False)),
        "WordLevel": (pre_tokenizers.Whitespace(), normalizers.Sequence([normalizers.NFKD(), normalizers.Lowercase()])),
        "Unigram": (pre_tokenizers.Metaspace(), normalizers.Precompiled(_charsmap(work, sample))),
        "Unigram, plain": (pre_tokenizers.Metaspace(), None),
    }[name]
    if trainer is not None:
        tokenizer.train_from_iterator(sample, trainer)
    tokenizer.add_tokens([AddedToken(each, normalized=False) for each in NAMES] + [AddedToken(ASKED, lstrip=True, normalized=False)])
    tokenizer.save(f"{path}.part")
    os.replace(f"{path}.part", path)
    return path


def _train_sentencepiece(kind: str, work: pathlib.Path, sample: Sequence[str]) -> pathlib.Path:
    """Trains a SentencePiece model, or finds the one trained before."""
    import sentencepiece

    prefix = work / f"sentencepiece-{kind}"
    if not prefix.with_suffix(".model").exists():
        print(f"training {prefix}.model", file=sys.stderr)
        lines = (line for text in sample for line in text.splitlines() if line.strip())
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines, model_prefix=f"{prefix}.part", model_type=kind, vocab_size=PIECES, hard_vocab_limit=False,
            byte_fallback=kind in ("bpe", "unigram"), use_all_vocab=kind == "char", input_sentence_size=50_000, minloglevel=2,
        )  # fmt: skip
        os.replace(f"{prefix}.part.model", f"{prefix}.model")
    return prefix.with_suffix(".model")


def _unigram(work: pathlib.Path, sample: Sequence[str]) -> Any:
    """Makes the library's model of SentencePiece's pieces and scores: training another takes it minutes."""
    import sentencepiece
    from tokenizers import models

    processor = sentencepiece.SentencePieceProcessor(model_file=str(_train_sentencepiece("unigram", work, sample)))
    pieces = [(processor.id_to_piece(i), processor.get_score(i)) for i in range(processor.vocab_size())]
    return models.Unigram(pieces, processor.unk_id(), False)


def _charsmap(work: pathlib.Path, sample: Sequence[str]) -> bytes:
    """Reads the rules of the normaliser of a SentencePiece model."""
    from tokenreel.format import wire

    fields = dict(wire.fields(_train_sentencepiece("unigram", work, sample).read_bytes()))
    return bytes(dict(wire.fields(fields[3]))[2])


def _sentencepiece(kind: str, work: pathlib.Path, sample: Sequence[str]) -> Kind:
    path = str(_train_sentencepiece(kind, work, sample))

    def load() -> Callable[[list[bytes]], list[Any]]:
        import sentencepiece

        return functools.partial(sentencepiece.SentencePieceProcessor(model_file=path).encode, num_threads=1, return_type="numpy")

    return Kind({"kind": "sentencepiece", "path": path}, load)


def _ranks(work: pathlib.Path, sample: Sequence[str]) -> Kind:
    """Makes a file of ranks of the pieces of the byte-level tokenizer, in the order of its merges."""
    import tiktoken

    from tokenreel.vocabularies.fast_path import byte_letters
    from tokenreel.vocabularies.ranks.patterns import PATTERNS

    path, letters = work / "ranks.tiktoken", byte_letters()
    model = json.loads(_train("byte-level", work, sample).read_text())["model"]
    names = [*letters, *(a + b for a, b in (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]))]
    ranks = {bytes(letters[letter] for letter in name): i for i, name in enumerate(dict.fromkeys(names))}
    path.write_text("".join(f"{base64.b64encode(piece).decode()} {i}\n" for piece, i in ranks.items()))

    def load() -> Callable[[list[bytes]], list[Any]]:
        library = tiktoken.Encoding("ranks", pat_str=PATTERNS["cl100k"], mergeable_ranks=ranks, special_tokens={})
        return lambda data: [library.encode_ordinary(each.decode()) for each in data]

    return Kind({"kind": "tiktoken", "path": str(path), "pattern": "cl100k", "eos_id": 1}, load)


KINDS: Mapping[str, Callable[[str, pathlib.Path, Sequence[str]], Kind]] = {
    **{
        name: lambda name, work, sample: _hugging_face(_train(name, work, sample))
        for name in ("byte-level", "WordPiece", "WordPiece, cased", "WordLevel", "Unigram", "Unigram, plain")
    },
    "ranks": lambda name, work, sample: _ranks(work, sample),
    **{
        f"SentencePiece {kind}": lambda name, work, sample: _sentencepiece(name.split()[1], work, sample)
        for kind in ("bpe", "unigram", "word", "char")
    },
}


def _keep(found: list[Any], encode: Callable[[], Any]) -> None:
    found.append(encode())


def _repeat(encode: Callable[[], Any], times: int) -> None:
    for _ in range(times):
        encode()


def race(kind: Kind, texts: list[str], rounds: int, budget: float) -> tuple[float, float, float, int]:
    """Lets the library and ours encode a text in turns.

    Returns:
      how many times as fast as the library ours is, cold and warm, the seconds of the library, and the documents whose ids differ.
    """
    laid, data = block(texts), [text.encode() for text in texts]
    seconds: list[tuple[float, float, float, float]] = []
    differing = 0
    while len(seconds) < rounds and (len(seconds) < 2 or sum(map(sum, seconds)) < budget):
        encode = functools.partial(kind.ours().encode_block, *laid)
        encode_by_library = functools.partial(kind.library(), data)
        found: list[Any] = []
        # Who comes second finds memory that the process has already: they take turns at that, too.
        first, second = (encode, encode_by_library) if len(seconds) % 2 else (encode_by_library, encode)
        cold, library_cold = (seconds_of(functools.partial(_keep, found, each)) for each in (first, second))
        if first is encode_by_library:
            cold, library_cold = library_cold, cold
        times = max(1, min(20, int(0.01 / max(cold, 1e-6))))
        warm = seconds_of(functools.partial(_repeat, encode, times)) / times
        library_warm = seconds_of(encode_by_library)
        if not seconds:
            differing = sum(a != b for a, b in zip(split(found[0]), split(found[1]), strict=True))
        seconds.append((cold, library_cold, warm, library_warm))
    return (
        statistics.median(library / ours for ours, library, _, _ in seconds),
        statistics.median(library / ours for _, _, ours, library in seconds),
        statistics.median(min(row[1], row[3]) for row in seconds),
        differing,
    )


def is_short(ratio: float, library: float) -> bool:
    """Tells whether a ratio falls short, where the library takes so many seconds."""
    return library / ratio - CALL > library / LEAST


def main(argv: Sequence[str] | None = None) -> int:
    """The command line, of which `argv` is what follows the module."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    parser = argparse.ArgumentParser("benchmarks.tokenization", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kilobytes", type=float, default=150, help="most of each text")
    parser.add_argument("--kinds", nargs="*", default=[*KINDS], choices=[*KINDS])
    parser.add_argument("--texts", nargs="*", default=[*NATURAL, *TEXTS], choices=[*NATURAL, *TEXTS])
    parser.add_argument("--models", nargs="*", default=[], type=pathlib.Path, help="files of tokenizer.json")
    parser.add_argument("--check", action="store_true", help="fail where a speed falls short")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "tokenreel-benchmarks")
    arguments = parser.parse_args(argv)
    folder = arguments.work / "beside-libraries"
    folder.mkdir(parents=True, exist_ok=True)
    import pyarrow.compute  # noqa: F401  loaded once in a process: no part of the speed

    most = int(1000 * arguments.kilobytes)
    sample = [text for name in NATURAL for text in gigatoken_race.text_of(name, SAMPLE, arguments.work)]
    texts = {name: TEXTS[name](most) if name in TEXTS else gigatoken_race.text_of(name, most, arguments.work) for name in arguments.texts}
    kinds = {name: KINDS[name](name, folder, sample) for name in arguments.kinds}
    kinds |= {path.parent.name: _hugging_face(path) for path in arguments.models}
    missed = []
    start = time.process_time()
    for name, kind in kinds.items():
        least = []
        for text, documents in texts.items():
            cold, warm, seconds, differing = race(kind, documents, ROUNDS, BUDGET)
            if is_short(min(cold, warm), seconds):
                cold, warm, seconds, differing = race(kind, documents, 3 * ROUNDS, 3 * BUDGET)
            size = sum(len(document.encode()) for document in documents) / 1e6
            print(
                f"{name:22} {text:20} {size:6.2f} MB {1000 * seconds:8.1f} ms {cold:7.2f} / {warm:7.2f}"
                + f"  {differing:,} differ" * (differing > 0),
                flush=True,
            )
            least.append((min(cold, warm), text))
            if is_short(min(cold, warm), seconds):
                missed.append(f"{name}, {text}: {cold:.2f} cold, {warm:.2f} warm, should be at least {LEAST}")
            if differing:
                missed.append(f"{name}, {text}: the ids of {differing:,} documents differ")
        print(f"{name:22} least: {min(least)}", flush=True)
    for each in missed:
        print(f"falls short: {each}")
    print(f"{time.process_time() - start:.0f} s")
    return int(arguments.check and bool(missed))

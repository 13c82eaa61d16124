"""Writes what other people's code computes: `python -m tests.golden.make_oracles --bert DIR`, and more DIRs for the others.

Each option names a folder with the original code; the vectors of those that are named are written to `tests/golden/oracles/`, whose
README.md says of which repository, commit and licence they are, and how the folders came about. None of that code is in this project:
BERT's and SpanBERT's functions are read from the checkout and run, Megatron-LM's and fairseq's compiled modules imported from the folder.

Inputs are drawn here and stored with the outputs. Where the original draws random numbers, what it drew is stored too, so that the tests
can make the same choices.
"""

from __future__ import annotations

import argparse
import ast
import collections
import contextlib
import importlib
import io
import json
import math
import pathlib
import random
import sys
import types
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

ORACLES = pathlib.Path(__file__).parent / "oracles"


def definitions(path: pathlib.Path, names: Sequence[str], namespace: dict[str, Any]) -> types.SimpleNamespace:
    """Runs some top-level definitions of a Python file, and nothing else of it: its imports would need what is long gone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wanted = [node for node in tree.body if (getattr(node, "name", None) or _target(node)) in names]
    assert len(wanted) == len(names), f"{path} does not define all of {names}"
    exec(compile(ast.Module(wanted, []), str(path), "exec"), namespace)
    return types.SimpleNamespace(**{name: namespace[name] for name in names})


def _target(node: ast.stmt) -> str | None:
    first = node.targets[0] if isinstance(node, ast.Assign) else None
    return first.id if isinstance(first, ast.Name) else None


def compiled(folder: pathlib.Path, name: str) -> Any:
    """Imports a compiled module from a folder."""
    sys.path.insert(0, str(folder))
    return importlib.import_module(name)


def ints(values: Iterable[Any]) -> list[int]:
    return [int(value) for value in values]


# Megatron-LM


def megatron(folder: pathlib.Path) -> dict[str, Any]:
    """`build_sample_idx`: where in which document each sample of a stream of documents begins."""
    build = compiled(folder, "helpers_cpp").build_sample_idx_int64
    rng = random.Random(12)
    cases = []
    for number in range(80):
        sizes = [rng.choice((0, 1, 2, rng.randint(1, 40))) if number % 4 else rng.randint(1, 40) for _ in range(rng.randint(1, 25))]
        sizes[rng.randrange(len(sizes))] += 2  # the original needs two tokens
        epochs = rng.choice((1, 1, 2, 3))
        order = [document for _ in range(epochs) for document in rng.sample(range(len(sizes)), len(sizes))]
        settings = {"seq_len": rng.randint(2, 48), "epochs": epochs, "drop_last": number % 3 > 0, "extra": number % 5 and 1}
        cases.append({"sizes": sizes, "order": order, **settings})
    # Its count of samples goes through a float of 24 bits where the last one is not dropped.
    cases.append({"sizes": [2**24 + 2], "order": [0], "seq_len": 2**22, "epochs": 1, "drop_last": False, "extra": 1})
    for case in cases:
        arrays = np.array(case["sizes"], np.int32), np.array(case["order"], np.int32)
        last, extra = case["drop_last"], case["extra"]
        case["index"] = build(*arrays, case["seq_len"], case["epochs"], sum(case["sizes"]), last, extra).tolist()
    return {"cases": cases}


# fairseq


def fairseq(folder: pathlib.Path) -> dict[str, Any]:
    """`_get_slice_indices_fast`: the ranges of the stream of sentences that become blocks."""
    slices = compiled(folder, "token_block_utils_fast")._get_slice_indices_fast
    rng = random.Random(14)
    cases = []
    for number in range(60):
        block = rng.randint(4, 40)
        separator = number % 2
        longest = block if number % 3 else 3 * block
        documents = [[rng.randint(1 + separator, longest) for _ in range(rng.randint(1, 9))] for _ in range(rng.randint(1, 7))]
        whole = [size for document in documents for size in (*document, separator)]
        cut = [part for size in whole for part in ((*[block] * ((size - 1) // block), (size - 1) % block + 1) if size else (0,))]
        case: dict[str, Any] = {"documents": documents, "separator": separator, "block": block}
        for mode in ("none", "complete", "complete_doc", "eos"):
            case[mode] = slices(np.array(whole, np.int64), mode, block, separator).tolist()
        # Sentences over the block size in parts that fit, as this project cuts them; a part may not be mistaken for a separator.
        if whole != cut and not any(part == separator for size, part in _parts(whole, block) if size != separator):
            for mode in ("complete", "complete_doc"):
                case[f"{mode}_of_parts"] = slices(np.array(cut, np.int64), mode, block, separator).tolist()
        cases.append(case)
    return {"cases": cases}


def _parts(sizes: Sequence[int], block: int) -> list[tuple[int, int]]:
    return [(size, part) for size in sizes for part in (*[block] * ((size - 1) // block), (size - 1) % block + 1)]


# BERT


class Recorder(random.Random):
    """Notes what is drawn, in order: (what, value)."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.notes: list[tuple[str, Any]] = []

    def random(self) -> float:
        self.notes.append(("random", super().random()))
        return float(self.notes[-1][1])

    def getrandbits(self, bits: int) -> int:  # without it, `randint` and `shuffle` would draw from `random`
        return random.Random.getrandbits(self, bits)

    def randint(self, low: int, high: int) -> int:
        self.notes.append(("randint", super().randint(low, high)))
        return int(self.notes[-1][1])

    def shuffle(self, values: Any) -> None:
        super().shuffle(values)
        self.notes.append(("shuffle", [list(value) for value in values]))


def bert(folder: pathlib.Path) -> dict[str, Any]:
    """`create_masked_lm_predictions` and `create_instances_from_document`."""
    names = ["MaskedLmInstance", "TrainingInstance", "create_masked_lm_predictions", "create_instances_from_document", "truncate_seq_pair"]
    flags = types.SimpleNamespace(do_whole_word_mask=False)
    namespace = {"collections": collections, "FLAGS": flags}
    original = definitions(folder / "create_pretraining_data.py", names, namespace)
    found = {"counts": bert_counts(original), "fates": bert_fates(original)}
    flags.do_whole_word_mask = True
    found["whole_words"] = bert_whole_words(original)
    namespace["create_masked_lm_predictions"] = lambda tokens, *_: (tokens, [], [])
    return {**found, "pairs": bert_pairs(original, namespace)}


def bert_counts(original: types.SimpleNamespace) -> list[dict[str, Any]]:
    """How many tokens are predicted in examples of 3 to 512 tokens, two [SEP] and a [CLS] among them."""
    found = []
    for rate, most in ((0.15, 20), (0.15, 77), (0.25, 512), (0.4, 512), (0.5, 512)):
        counts = []
        for length in range(4, 513):
            tokens = ["[CLS]", *["a"] * ((length - 3) // 2), "[SEP]", *["b"] * (length - 3 - (length - 3) // 2), "[SEP]"]
            assert len(tokens) == length
            counts.append(len(original.create_masked_lm_predictions(tokens, rate, most, ["z"], random.Random(length))[1]))
        found.append({"rate": rate, "max_predictions": most, "first_length": 4, "counts": counts})
    return found


def bert_fates(original: types.SimpleNamespace) -> dict[str, int]:
    """What became of the selected tokens of 4,000 examples. No token of the text is one that could be drawn."""
    fates: collections.Counter[str] = collections.Counter()
    rng = random.Random(15)
    for _ in range(4000):
        tokens, at, _ = original.create_masked_lm_predictions(["[CLS]", *["a"] * 126, "[SEP]"], 0.15, 20, ["y", "z"], rng)
        fates.update({"[MASK]": "masked", "a": "unchanged"}.get(tokens[i], "random") for i in at)
    return dict(sorted(fates.items()))


def bert_whole_words(original: types.SimpleNamespace) -> list[dict[str, Any]]:
    """Examples of words of several pieces, the order in which their words were visited, and what was selected.

    `pieces` has 2 for [CLS] and [SEP], 1 for the first piece of a word, 0 for the others. `visited` names words by their first position.
    """
    rng = random.Random(16)
    found = []
    for _ in range(40):
        pieces = [2]
        for _ in range(2):
            for _ in range(rng.randint(1, 25)):
                pieces += [1, *[0] * rng.choice((0, 0, 0, 1, 2, 5, 9))]
            pieces.append(2)
        rate, most = rng.choice((0.15, 0.3, 0.5)), rng.choice((3, 20, 200))
        recorder = Recorder(rng.randrange(2**32))
        tokens = [("##a", "a", "[SEP]")[piece] for piece in pieces]
        _, at, _ = original.create_masked_lm_predictions(tokens, rate, most, ["z"], recorder)
        visited = next(value for what, value in recorder.notes if what == "shuffle")
        case = {"pieces": "".join(map(str, pieces)), "rate": rate, "max_predictions": most}
        found.append({**case, "visited": [word[0] for word in visited], "selected": ints(at)})
    return found


def bert_pairs(original: types.SimpleNamespace, namespace: dict[str, Any]) -> list[dict[str, Any]]:
    """Pairs of all documents of some corpora, and the choices that made them.

    A token says where it comes from, so each part of a pair is [document, first token, tokens]. A choice is [document, first sentence of
    the chunk, whether the second part is random, sentences of the first part, document and first sentence of a random second part].
    """
    truncate = original.truncate_seq_pair

    def noting(tokens_a: list[str], tokens_b: list[str], most: int, rng: Recorder) -> None:
        rng.notes.append(("trim", None))
        truncate(tokens_a, tokens_b, most, rng)
        rng.notes.append(("made", None))

    namespace["truncate_seq_pair"] = noting
    rng = random.Random(17)
    found = []
    for number in range(12):
        sizes = [[rng.randint(1, 30) for _ in range(rng.randint(1, 14))] for _ in range(rng.randint(3, 12))]
        documents = [_named(document, lengths) for document, lengths in enumerate(sizes)]
        case: dict[str, Any] = {"sentences": sizes, "seq_len": rng.randint(24, 90), "targets": [], "choices": [], "pairs": []}
        for document, lengths in enumerate(sizes):
            recorder = Recorder(1000 * number + document)
            made = original.create_instances_from_document(documents, document, case["seq_len"], 0.1, 0.15, 20, [], recorder)
            notes = collections.deque(recorder.notes)
            target = notes.popleft()[1] < 0.1 and notes.popleft()[1]
            case["targets"].append(target or None)
            case["choices"] += _choices(notes, document, lengths, target or case["seq_len"] - 3)
            case["pairs"] += [[*_located(instance), int(instance.is_random_next)] for instance in made]
        found.append(case)
    return found


def _named(document: int, lengths: Sequence[int]) -> list[list[str]]:
    first = np.cumsum([0, *lengths])
    return [[f"{document} {token}" for token in range(first[i], first[i + 1])] for i in range(len(lengths))]


def _choices(notes: collections.deque[tuple[str, Any]], document: int, lengths: Sequence[int], target: int) -> list[list[int]]:
    """Reads what was drawn for each pair of a document."""
    found = []
    at = 0
    while at < len(lengths):
        stop = next((i for i in range(at + 1, len(lengths)) if sum(lengths[at:i]) >= target), len(lengths))
        first_part, is_random = 1, True
        if stop - at > 1:
            first_part, is_random = notes.popleft()[1], notes.popleft()[1] < 0.5
        drawn = []
        while notes[0][0] != "trim":
            drawn.append(notes.popleft()[1])
        while notes.popleft()[0] != "made":
            pass
        other, begin = drawn[-2:] if is_random else (-1, -1)
        assert other != document, "the original gave up looking for another document: draw other inputs"
        found.append([document, at, int(is_random), first_part, other, begin])
        at = at + first_part if is_random else stop
    assert not notes
    return found


def _located(instance: Any) -> list[list[int]]:
    middle = instance.tokens.index("[SEP]")
    parts = [[ints(token.split()) for token in part] for part in (instance.tokens[1:middle], instance.tokens[middle + 1 : -1])]
    for part in parts:
        assert part == [[part[0][0], part[0][1] + i] for i in range(len(part))]
    return [[*part[0], len(part)] for part in parts]


# SpanBERT


class _Noting:
    """NumPy, but for `random.choice`, of which it notes the results."""

    def __init__(self) -> None:
        self.drawn: list[int] = []
        self.random = types.SimpleNamespace(choice=self._choice, rand=np.random.rand, random=np.random.random, randint=np.random.randint)

    def _choice(self, *arguments: Any, **named: Any) -> Any:
        self.drawn.append(int(np.random.choice(*arguments, **named)))
        return self.drawn[-1]

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


def spanbert(folder: pathlib.Path) -> dict[str, Any]:
    """`PairWithSpanMaskingScheme.mask`: the spans, their number of tokens, their neighbours and what becomes of them."""
    names = ["ParagraphInfo", "MaskingScheme", "PairWithSpanMaskingScheme", "span_masking", "merge_intervals", "pad_to_len"]
    noting = _Noting()
    namespace: dict[str, Any] = {"np": noting, "math": math}
    original = definitions(folder / "pretraining/fairseq/data/masking.py", names, namespace)
    settings = {"mask_ratio": 0.15, "max_pair_targets": 600, "span_lower": 1, "span_upper": 10, "geometric_p": 0.2}
    settings.update(tagged_anchor_prob=0.0, replacement_method="span", endpoints="external", return_only_spans=False)
    words = original.ParagraphInfo(types.SimpleNamespace(is_start_word=lambda piece: piece % 2 == 1))  # odd tokens begin words

    def scheme(**others: Any) -> Any:
        arguments = types.SimpleNamespace(**{**settings, **others})
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its weights
            return original.PairWithSpanMaskingScheme(arguments, np.array([10**6]), 0, -1, words)

    np.random.seed(18)
    counts = [
        {"rate": rate, "first_length": 1, "counts": [_count(scheme(mask_ratio=rate), length) for length in range(1, 513)]}
        for rate in (0.15, 0.25, 0.4)
    ]
    cases = []
    rng = random.Random(19)
    for _ in range(40):
        pieces = [piece for _ in range(rng.randint(1, 40)) for piece in (1, *[0] * rng.choice((0, 0, 0, 1, 2, 4)))]
        sentence = np.array([2 * i + piece for i, piece in enumerate(pieces)])  # each token is another
        rate = rng.choice((0.15, 0.3, 0.5))
        cases.append(_mask(scheme(mask_ratio=rate), noting, sentence, pieces, rate))
    return {"weights": scheme().len_distrib, "counts": counts, "cases": cases, **_span_statistics(scheme())}


def _count(scheme: Any, length: int) -> int:
    return int((scheme.mask(np.full(length, 3))[1] == 3).sum())


def _mask(scheme: Any, noting: _Noting, sentence: Any, pieces: Sequence[int], rate: float) -> dict[str, Any]:
    """Masks one sentence. `anchors` are [position, words that its span may have] of those that were used, `pairs` the spans' neighbours."""
    noting.drawn.clear()
    _, target, pair_targets = scheme.mask(sentence)
    selected = set(np.flatnonzero(target != 0).tolist())
    anchors, seen = [], set()
    for words, at in zip(noting.drawn[0::2], noting.drawn[1::2], strict=False):
        if len(seen) < len(selected) and at not in seen:
            anchors.append([at, words])
            seen |= _reached(pieces, at, words) & selected
    return {
        "pieces": "".join(map(str, pieces)),
        "rate": rate,
        "anchors": anchors,
        "selected": sorted(selected),
        "pairs": [[*pair[:2]] for pair in pair_targets],
    }


def _reached(pieces: Sequence[int], at: int, words: int) -> set[int]:
    """The positions of a span before it is cut at the number of tokens."""
    begin = max((i for i in range(at + 1) if pieces[i]), default=0)
    starts = [i for i in range(begin, len(pieces)) if pieces[i]]
    return set(range(begin, starts[words] if words < len(starts) else len(pieces)))


def _span_statistics(scheme: Any) -> dict[str, Any]:
    """What 4,000 maskings of one sentence come to: how often spans have each length, and what became of their tokens."""
    rng = random.Random(20)
    pieces = [piece for _ in range(80) for piece in (1, *[0] * rng.choice((0, 0, 1, 2)))][:128]
    sentence = np.array([2 * i + piece for i, piece in enumerate(pieces)])
    lengths: collections.Counter[int] = collections.Counter()
    fates: collections.Counter[str] = collections.Counter()
    for _ in range(4000):
        corrupted, target, _ = scheme.mask(sentence)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], target != 0, [0]])))
        lengths.update(ints(edges[1::2] - edges[0::2]))
        for begin in edges[0::2]:
            fates[{-1: "masked", 10**6: "random"}.get(int(corrupted[begin]), "unchanged")] += 1
    statistics = {"pieces": "".join(map(str, pieces)), "maskings": 4000, "span_lengths": sorted(lengths.items())}
    return {"statistics": {**statistics, "fates": dict(sorted(fates.items()))}}


MAKERS: dict[str, Callable[[pathlib.Path], dict[str, Any]]] = {"bert": bert, "fairseq": fairseq, "megatron": megatron, "spanbert": spanbert}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, make in MAKERS.items():
        parser.add_argument(f"--{name}", type=pathlib.Path, metavar="DIR", help=(make.__doc__ or "").splitlines()[0])
    for name, folder in vars(parser.parse_args()).items():
        if folder is not None:
            path = ORACLES / f"{name}.json"
            path.write_text(to_text(MAKERS[name](folder.resolve())), encoding="utf-8")
            print(path)


def to_text(found: dict[str, Any]) -> str:
    """JSON with a line for each case, so that a difference can be read."""
    parts = []
    for name, value in found.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            rows = ",\n  ".join(json.dumps(case, separators=(",", ":")) for case in value)
            parts.append(f"{json.dumps(name)}: [\n  {rows}\n ]")
        else:
            parts.append(f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}")
    return "{\n " + ",\n ".join(parts) + "\n}\n"


if __name__ == "__main__":
    main()

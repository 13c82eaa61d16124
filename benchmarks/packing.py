"""How fast documents are laid out, beside a plain copy of the same bytes.

    python -m benchmarks.packing                  # lengths like those of web text, and the functions of Python's standard library
    python -m benchmarks.packing --corpus 'texts/*.txt' --check

Times are processor seconds of one core, the best of a few runs; each line is a JSON object. `--check` fails when a target is missed: wrap
200 million tokens a second, best fit 20 million and a fill of 99.8 % at 2,048 positions.
"""

import argparse
import glob
import json
import pathlib
import sys
import sysconfig
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.layouts import filling as layouts_fill
from tokenreel.layouts import modes, table

SEQ_LEN = 2048


def seconds(function: Callable[[], Any], repeat: int = 3) -> float:
    best = float("inf")
    for _ in range(repeat):
        begin = time.process_time()
        function()
        best = min(best, time.process_time() - begin)
    return best


def web_lengths(tokens: int) -> np.ndarray:
    """Log-normal lengths: median 120, mean about 550, as in a mixed English corpus."""
    rng = np.random.default_rng(0)
    lengths = np.maximum(1, rng.lognormal(np.log(120), 1.75, tokens // 400)).astype(np.int64)
    return lengths[: int(np.searchsorted(np.cumsum(lengths), tokens))]


def corpus_lengths(pattern: str | None, tokens: int) -> np.ndarray:
    """Real documents: files, or the top-level pieces of the standard library's sources; a token is taken to be four bytes."""
    if pattern is not None:
        sizes = [len(pathlib.Path(path).read_bytes()) for path in sorted(glob.glob(pattern, recursive=True))]
    else:
        sources = sorted(pathlib.Path(sysconfig.get_paths()["stdlib"]).rglob("*.py"))[:3000]
        sizes = [len(piece) for path in sources for piece in path.read_bytes().split(b"\n\n\n")]
    lengths = np.array([size // 4 + 1 for size in sizes if size], np.int64)
    return np.tile(lengths, max(1, tokens // int(lengths.sum()))) if pattern is None else lengths


def statistics(layout: table.Layout, lengths: npt.ArrayLike, seq_len: int) -> dict[str, Any]:
    """Counts what a layout does to the documents; the values of several layouts add up.

    Args:
      layout: of the documents.
      lengths: int [num_documents], what it was made for.
      seq_len: positions in an example.

    Returns:
      examples, positions, tokens (those of an overlap twice), repeated_tokens, segments, documents (not empty), dropped_documents (of which
      no token is left), cut_documents (of the rest, those not whole in one example), cut_documents_that_fit (of at most `seq_len` tokens),
      dropped (tokens by reason), and two histograms: segment_lengths [64] by number of binary digits, segments_per_example [64], the last
      for 63 or more. Density is tokens / positions.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    whole = np.zeros(len(lengths), bool)
    whole[layout.document[layout.length == lengths[layout.document]]] = True
    present = np.zeros(len(lengths), bool)
    present[layout.document] = True
    cut = present & ~whole
    return {
        "examples": layout.num_examples,
        "positions": layout.num_examples * seq_len,
        "tokens": int(layout.length.sum()),
        "repeated_tokens": layout.repeated,
        "segments": len(layout),
        "documents": int((lengths > 0).sum()),
        "dropped_documents": int(((lengths > 0) & ~present).sum()),
        "cut_documents": int(cut.sum()),
        "cut_documents_that_fit": int((cut & (lengths <= seq_len)).sum()),
        "dropped": dict(layout.dropped),
        "segment_lengths": np.bincount(np.frexp(layout.length.astype(np.float64))[1], minlength=64),
        "segments_per_example": np.bincount(np.minimum(layout.num_segments(), 63), minlength=64),
    }


def measure(name: str, lengths: np.ndarray) -> list[dict[str, Any]]:
    total = int(lengths.sum())
    tokens = np.random.default_rng(1).integers(0, 32000, total).astype(np.uint16)
    offsets = np.cumsum(lengths) - lengths
    copied = np.empty_like(tokens)
    copy = seconds(lambda: np.copyto(copied, tokens))
    rows = []
    for mode, settings in [
        ("wrap", {}),
        ("wrap", {"overlap": 1}),
        ("wrap_within_document", {}),
        ("best_fit", {}),
        ("best_fit", {"max_segments": 8}),
        ("first_fit", {"open_examples": 16}),
        ("next_fit", {}),
        ("next_fit", {"flush_every": SEQ_LEN, "long_documents": "truncate"}),
        ("pad", {"long_documents": "split"}),
    ]:
        width = SEQ_LEN + settings.get("overlap", 0)
        layout = modes.lay_out(lengths, mode=mode, seq_len=SEQ_LEN, **settings)
        out = np.empty((layout.num_examples, width), tokens.dtype)
        plan = seconds(lambda m=mode, s=settings: modes.lay_out(lengths, mode=m, seq_len=SEQ_LEN, **s))
        fill = seconds(lambda o=layout, w=width, b=out: layouts_fill.fill(tokens, offsets, o, w, 0, out=b))
        counts = statistics(layout, lengths, SEQ_LEN)
        rows.append(
            {
                "lengths": name,
                "mode": mode,
                **settings,
                "million_tokens_per_second": round(total / (plan + fill) / 1e6, 1),
                "plan": round(total / plan / 1e6, 1),
                "fill": round(total / fill / 1e6, 1),
                "times_copyto": round((plan + fill) / copy, 2),
                "density": round(counts["tokens"] / (layout.num_examples * width), 6),
                "cut_documents": round(counts["cut_documents"] / counts["documents"], 4),
                "cut_that_fit": counts["cut_documents_that_fit"],
                "documents": len(lengths),
            }
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=50_000_000)
    parser.add_argument("--corpus", metavar="GLOB", help="text files, one document each")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    missed = 0
    for name, lengths in [("web", web_lengths(options.tokens)), ("corpus", corpus_lengths(options.corpus, options.tokens))]:
        for row in measure(name, lengths):
            print(json.dumps(row), flush=True)
            target = {"wrap": 200, "best_fit": 20}.get(row["mode"], 0)
            missed += row["million_tokens_per_second"] < target
            missed += row["mode"] == "best_fit" and (row["cut_that_fit"] > 0 or ("max_segments" not in row and row["density"] < 0.998))
    return int(options.check and missed > 0)


if __name__ == "__main__":
    sys.exit(main())

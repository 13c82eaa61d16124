"""Small datasets of every kind, built by the command from the golden corpus and some lines of its own."""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import yaml

from pipelines import cli
from tests.golden.builds import INPUTS

_MASK, _FIM = {"mask_id": "<mask>"}, {"prefix_id": "<PRE>", "suffix_id": "<SUF>", "middle_id": "<MID>"}
_PAIRS = {"mode": "segment_pairs", "sentences": "rules", "add_eos": False, "separator_id": "[SEP]", "options": {"first_id": "[CLS]"}}
_ALIGNED = {"align": 2, "mode": "best_fit"}
_LINES = (INPUTS / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
_LABELLED = ({"label_fields": {"module": sorted({json.loads(line)["module"] for line in _LINES[:-1]})[:-1]}},)
_TWO = ({"name": "short", "filters": {"max_words": 90}}, {"name": "all", "epochs": 2.5})

RECIPES: Mapping[str, Mapping[str, Any]] = {
    "wrap": {"packing": {"overlap": 1, "add_bos": True}},
    "wrap_padded_variants": {"packing": {"last_example": "pad"}, "objective": {"name": "roberta", **_MASK}, "variants": 2},
    "wrap_without_provenance": {"objective": {"name": "next_tokens"}, "shards": {"examples": 48, "provenance": False}},
    "two_sources": {"sources": _TWO, "packing": {"mode": "best_fit"}, "duplicates": {"remove": "documents"}},
    "best_fit_lists": {"packing": {"mode": "best_fit", "align": 4}, "shards": {"examples": 48, "format": "int64_list"}},
    "labelled": {"sources": _LABELLED, "packing": {"mode": "pad"}},
    "truncated": {"packing": {"mode": "pad"}, "objective": {"name": "prefix_lm"}},
    "dropped": {"packing": {"mode": "first_fit", "long_documents": "drop", "seq_len": 256}, "objective": {"name": "electra", **_MASK}},
    "within": {"packing": {"mode": "wrap_within_document", "overlap": 1, "last_example": "drop"}},
    "sentences": {"packing": {"mode": "full_sentences", "sentences": "rules"}, "objective": {"name": "spanbert", **_MASK}},
    "buckets": {"packing": {"mode": "buckets", "options": {"min_exponent": 4, "max_exponent": 8}, "overlap": 1}},
    "infilling": {"packing": {"mode": "next_fit"}, "objective": {"name": "fill_in_the_middle", **_FIM}},
    "pairs": {"packing": _PAIRS, "objective": {"name": "bert", **_MASK}},
    "t5": {"objective": {"name": "t5"}},
    "t5_texts": {"packing": {"mode": "best_fit"}, "objective": {"name": "prefix_lm", "form": "encoder_decoder"}},
    "ul2": {"packing": {"last_example": "pad"}, "objective": {"name": "ul2"}},
    "ul2_packed": {"packing": {"mode": "best_fit"}, "objective": {"name": "ul2"}},
    "characters": {"vocabulary": {"kind": "bytes"}, "packing": _ALIGNED, "objective": {"name": "character_denoising", "mask_id": 2}},
    "typos": {"vocabulary": {"kind": "bytes"}, "packing": {"seq_len": 128}, "objective": {"name": "typo_noise"}},
    "filtered": {"filters": {"min_words": 30, "lines": {"min_words": 3}, "max_tokens": 900}},
}  # fmt: skip


def write_corpus(directory: pathlib.Path) -> pathlib.Path:
    """Writes the golden corpus, every seventh text of it once more, and what cannot be read."""
    again = [json.dumps({**json.loads(line), "id": f"again.{number}"}) for number, line in enumerate(_LINES[:-1:7])]
    path = directory / "corpus.jsonl"
    path.write_text("\n".join([*_LINES, *again, '{"no text": 1}', "{"]), encoding="utf-8")
    return path


def build(recipe: str, directory: pathlib.Path) -> pathlib.Path:
    """Builds the dataset of a recipe in a directory, which holds the corpus."""
    changes = dict(RECIPES[recipe])
    sources = changes.pop("sources", ({},))
    config = {
        "output": str(directory / recipe),
        "sources": [{"files": [str(directory / "corpus.jsonl")], "id_field": "id", **source} for source in sources],
        "vocabulary": {"path": str(INPUTS / "unigram.model")},
        "splits": {"validation": "30%"},
        "order": {"group_tokens": 9000},
        "objective": {"name": "causal_lm"},
        "shards": {"examples": 48},
        "execution": {"max_dead_letter_fraction": 0.5},
        "seed": 3,
        **changes,
        "packing": {"seq_len": 64, **changes.get("packing", {})},
    }
    path = directory / f"{recipe}.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(config))), encoding="utf-8")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = cli.main(["build", str(path), "--direct_num_workers=1"])
    assert code == 0, printed.getvalue()
    return directory / recipe

"""Where tokens lie in the text, from the text to the dataset: in every layout each token keeps the span that its document gave it."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sentencepiece
import yaml

import tokenreel
from pipelines import cli
from tests.pipelines.test_build import build, provenance, read_texts, records
from tokenreel.config.reading import load
from tokenreel.curation.sentences import split as split_sentences
from tokenreel.errors import ConfigError, VocabularyError
from tokenreel.format import token_spans
from tokenreel.planning.recipe import make_recipe
from tokenreel.vocabularies.loading import load_vocabulary

WriteConfig = Callable[..., str]
BOS, EOS, FIRST, SEPARATOR, MASK = 3, 1, 3, 1, 4
SENTINELS = {"prefix_id": 590, "suffix_id": 591, "middle_id": 592}

CASES: dict[str, dict[str, Any]] = {
    "wrap": {"packing": {"seq_len": 64, "overlap": 1, "add_bos": True}},
    "wrap_padded": {"packing": {"seq_len": 64, "last_example": "pad"}, "order": {"mode": "source", "group_tokens": 20_000}},
    "within_document": {"packing": {"mode": "wrap_within_document", "seq_len": 64, "overlap": 1}},
    "best_fit_aligned": {"packing": {"mode": "best_fit", "seq_len": 64, "align": 4}},
    "pad": {"packing": {"mode": "pad", "seq_len": 64, "long_documents": "truncate", "add_eos": False}},
    "full_sentences": {"packing": {"mode": "full_sentences", "seq_len": 64, "sentences": "newline"}},
    "masked_variants": {"packing": {"seq_len": 64}, "objective": {"name": "masked_lm", "mask_id": MASK}, "variants": 2},
    "repeated": {"packing": {"mode": "best_fit", "seq_len": 128}},
    "filtered": {"packing": {"seq_len": 64}, "filters": {"min_tokens": 20, "max_tokens": 400}},
}


def offsets_config(write_config: WriteConfig, model: str, **settings: Any) -> str:
    return write_config(vocabulary={"path": model, "offsets": True}, **settings)


def corpus_of(config: str) -> dict[str, str]:
    return read_texts(yaml.safe_load(pathlib.Path(config).read_text())["sources"][0]["files"][0])


def document(processor: Any, text: str, sentences: str | None) -> tuple[list[int], list[tuple[int, int]]]:
    """Ids and spans of a document, by the library, sentence by sentence where asked."""
    ids: list[int] = []
    spans: list[tuple[int, int]] = []
    at = 0
    for part in split_sentences(text, sentences) if sentences else [text]:
        if part.strip():
            told = processor.encode(part, return_type="offset_mapping")
            ids += told["ids"]
            spans += [(a + at, b + at) for a, b in told["offsets"]]
        at += len(part)
    return ids, spans


@pytest.mark.parametrize("case", CASES)
def test_every_token_keeps_its_span(write_config: WriteConfig, unigram_model: str, tmp_path: pathlib.Path, case: str) -> None:
    settings = CASES[case]
    config = offsets_config(write_config, unigram_model, **settings)
    epochs = 1.5 if case == "repeated" else 1
    assert build(config, "--set", "execution.block_mb=0.05", "--set", f"sources.0.epochs={epochs}") == 0
    assert cli.main(["verify", str(tmp_path / "dataset"), "--quiet"]) == 0
    texts, processor = corpus_of(config), sentencepiece.SentencePieceProcessor(model_file=unigram_model)
    packing, align = settings["packing"], settings["packing"].get("align", 1)
    dataset = tokenreel.load(str(tmp_path / "dataset"), split="train")
    found = dataset.stored(np.arange(len(dataset)), ["tokens", "token_begins", "token_ends"])
    assert found["token_begins"].shape == found["tokens"].shape and found["token_begins"].dtype == np.int32
    rows = provenance(tmp_path / "dataset")
    covered = np.zeros(found["tokens"].shape, dtype=bool)
    encoded: dict[str, Any] = {}
    place, last = 0, None
    for example, name, start, length in zip(rows["example"], rows["doc_id"], rows["doc_token_start"], rows["length"], strict=True):
        place = place if example == last else 0
        if name not in encoded:
            ids, spans = document(processor, texts[name], packing.get("sentences"))
            before, behind = packing.get("add_bos", False), packing.get("add_eos", True)
            encoded[name] = [BOS] * before + ids + [EOS] * behind, [(-1, -1)] * before + spans + [(-1, -1)] * behind
        ids, spans = encoded[name]
        here = slice(place, place + length)
        pairs = list(zip(found["token_begins"][example, here].tolist(), found["token_ends"][example, here].tolist(), strict=True))
        assert pairs == spans[start : start + length], name
        if "objective" not in settings:
            assert found["tokens"][example, here].tolist() == ids[start : start + length]
        covered[example, here] = True
        place, last = place + -(-length // align) * align, example
    assert (found["token_begins"][~covered] == -1).all() and (found["token_ends"][~covered] == -1).all()
    assert len(rows["example"]) > 100


@pytest.mark.parametrize(
    "settings",
    [
        {
            "packing": {
                "mode": "segment_pairs",
                "seq_len": 64,
                "sentences": "newline",
                "add_eos": False,
                "separator_id": SEPARATOR,
                "options": {"first_id": FIRST},
            }
        },
        {"packing": {"seq_len": 64}, "objective": {"name": "fill_in_the_middle", **SENTINELS}},
    ],
    ids=["segment_pairs", "fill_in_the_middle"],
)
def test_rearranged_text_keeps_its_spans(
    write_config: WriteConfig, unigram_model: str, tmp_path: pathlib.Path, settings: dict[str, Any]
) -> None:
    """The text of a span is the text of its token, wherever it went; what was put in between has none."""
    config = offsets_config(write_config, unigram_model, splits={}, **settings)
    assert build(config) == 0
    assert cli.main(["verify", str(tmp_path / "dataset"), "--quiet"]) == 0
    texts, processor = corpus_of(config), sentencepiece.SentencePieceProcessor(model_file=unigram_model)
    found, rows = records(tmp_path / "dataset"), provenance(tmp_path / "dataset")
    documents: dict[int, list[str]] = {}
    for example, name in zip(rows["example"], rows["doc_id"], strict=True):
        documents.setdefault(example, []).append(name)
    allowed = {name: set(zip(*document(processor, texts[name], settings["packing"].get("sentences")), strict=True)) for name in texts}
    special = {EOS, BOS, 0, *SENTINELS.values()}
    for example, tokens in enumerate(found["tokens"].tolist()):
        known = set().union(*(allowed[name] for name in documents[example]))
        for token, begin, end in zip(tokens, found["token_begins"][example].tolist(), found["token_ends"][example].tolist(), strict=True):
            assert (token, (begin, end)) in known if begin >= 0 else (token in special and end == -1)
    assert (found["token_begins"] >= 0).mean() > 0.5


def test_offsets_change_no_token(write_config: WriteConfig, unigram_model: str, tmp_path: pathlib.Path) -> None:
    """... and share no stage file with a build that has none."""
    stage = {"stage": str(tmp_path / "stage")}
    assert build(write_config(output=str(tmp_path / "plain"), execution=stage)) == 0
    assert build(offsets_config(write_config, unigram_model, output=str(tmp_path / "with"), execution=stage)) == 0
    plain, with_offsets = records(tmp_path / "plain"), records(tmp_path / "with")
    assert set(with_offsets) - set(plain) == {"token_begins", "token_ends"}
    assert all((plain[name] == with_offsets[name]).all() for name in plain)


def test_a_character_is_found_in_the_batch(write_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    """The documented way from a character of a document to its place in an example."""
    config = write_config(vocabulary={"kind": "bytes", "offsets": True}, packing={"mode": "best_fit", "seq_len": 512}, splits={})
    assert build(config) == 0
    texts = corpus_of(config)
    name, text = next((name, text) for name, text in texts.items() if 300 < len(text) < 450)
    rows, found = provenance(tmp_path / "dataset"), records(tmp_path / "dataset")
    row = rows["doc_id"].index(name)
    example = rows["example"][row]
    at = sum(length for e, length in zip(rows["example"][:row], rows["length"][:row], strict=True) if e == example)
    piece = slice(at, at + rows["length"][row])
    first, last = token_spans.tokens_of_characters(
        found["token_begins"][example, piece], found["token_ends"][example, piece], text.index(" ") + 1
    ).tolist()
    ids = found["tokens"][example, piece][first : last + 1].tolist()
    assert load_vocabulary("bytes").decode(ids) == text[text.index(" ") + 1]


def test_what_cannot_have_offsets_is_refused(unigram_model: str) -> None:
    settings = f"{{output: x, sources: [{{files: [x]}}], vocabulary: {{path: {unigram_model}, offsets: true}}, objective: {{name: t5}}}}"
    with pytest.raises(ConfigError, match="t5 stores inputs and targets instead"):
        make_recipe(load(settings, ["objective.first_sentinel_id=599"]), load_vocabulary("sentencepiece", unigram_model))

    class Silent(type(load_vocabulary("bytes"))):  # type: ignore[misc]
        def encode_block_with_offsets(self, text, offsets):
            raise VocabularyError("Silent does not tell")

    with pytest.raises(VocabularyError, match="Silent does not tell"):
        make_recipe(load("{output: x, sources: [{files: [x]}], vocabulary: {kind: bytes, offsets: true}}"), Silent())


@pytest.mark.parametrize(
    "change", ["filters={lines: {min_words: 2}}", "duplicates.remove=lines", "sources.0.filters={lines: {end_marks: [.]}}"]
)
def test_text_that_is_cut_has_no_offsets(change: str) -> None:
    settings = "{output: x, sources: [{files: [x]}], vocabulary: {kind: bytes, offsets: true}}"
    load(settings, ["filters.min_characters=5", "duplicates.remove=documents"])
    with pytest.raises(ConfigError, match="leave one of them out"):
        load(settings, [change])

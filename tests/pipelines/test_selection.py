"""What a build takes of its sources: filters, duplicates, weights and splits, and that every document is accounted for."""

from __future__ import annotations

import json
import pathlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipelines import cli
from tests import verification_datasets as datasets
from tests.conftest import tree_digest
from tests.pipelines.test_build import build, bytes_config, provenance, records
from tests.pipelines.test_determinism import selection
from tokenreel import keys
from tokenreel.curation import hash_tables
from tokenreel.format import manifest
from tokenreel.inspection.verification import verify
from tokenreel.sources.values import position_keys

__all__ = ["bytes_config"]  # a fixture

BytesConfig = Callable[..., str]
PADDED = {"seq_len": 64, "mode": "best_fit", "add_eos": False}


def lines(*texts: str) -> bytes:
    return "".join(f"{text}\n" for text in texts).encode()


def source(tmp_path: pathlib.Path, name: str, **settings: Any) -> dict[str, Any]:
    return {"name": name, "files": [str(tmp_path / f"text/{name}.txt")], "format": "lines", **settings}


def taken(dataset: pathlib.Path, split: str = "train") -> Counter[tuple[str, str]]:
    """How often each document begins in the examples of a split: (source, name)."""
    found = provenance(dataset, split)
    rows = zip(found["source"], found["doc_id"], found["doc_token_start"], strict=True)
    return Counter((source, name) for source, name, start in rows if start == 0)


def statistics(dataset: pathlib.Path) -> dict[str, Any]:
    found = json.loads((dataset / "statistics.json").read_text())["sources"]
    assert isinstance(found, dict)
    return found


def texts_in(dataset: pathlib.Path, split: str = "train") -> list[str]:
    """The documents of a dataset of bytes, as they lie in the examples; each must fit one."""
    found, segments = records(dataset, split), provenance(dataset, split)
    texts, offset = [], 0
    for example, place, length in zip(segments["example"], segments["segment"], segments["length"], strict=True):
        offset = 0 if place == 0 else offset
        texts.append(bytes(int(token) - 3 for token in found["tokens"][example][offset : offset + length]).decode())
        offset += length
    return texts


@pytest.mark.parametrize("order", ["shuffle", "source"])
@pytest.mark.parametrize("packing", [PADDED, {"seq_len": 16, "last_example": "pad"}])
def test_weights(bytes_config: BytesConfig, tmp_path: pathlib.Path, order: str, packing: dict[str, Any]) -> None:
    contents = {f"{name}.txt": lines(*(f"{name} {i:03}" for i in range(400))) for name in ("often", "once", "rare")}
    sources = [source(tmp_path, "often", epochs=2.5), source(tmp_path, "once"), source(tmp_path, "rare", epochs="25%")]
    settings = {"sources": sources, "splits": {"validation": "10%"}, "packing": packing, "order": {"mode": order, "group_tokens": 3000}}
    assert build(bytes_config(contents, **settings)) == 0
    dataset = tmp_path / "dataset"
    train, held_out = taken(dataset), taken(dataset, "validation")
    counts = {name: Counter(count for (found, _), count in train.items() if found == name) for name in ("often", "once", "rare")}
    assert set(counts["often"]) == {2, 3} and 130 < counts["often"][3] < 230
    assert set(counts["once"]) == set(counts["rare"]) == {1}
    assert 60 < counts["rare"][1] < 120
    assert set(held_out.values()) == {1} and not held_out.keys() & train.keys()
    assert all(sum(found == name for found, _ in [*train, *held_out]) == 400 for name in ("often", "once"))

    rows = provenance(dataset)
    covered: Counter[tuple[str, str, int]] = Counter()
    for name, document, copy, length in zip(rows["source"], rows["doc_id"], rows["copy"], rows["length"], strict=True):
        covered[name, document, copy] += length
    size = len("once 000") + (packing is not PADDED)  # and its end
    assert covered == {
        (name, document, copy): size + (name == "often") for (name, document), count in train.items() for copy in range(count)
    }

    totals, by_source = manifest.read(str(dataset)).totals, statistics(dataset)
    assert totals["documents_read"] == 1200
    assert totals["documents_written"] == train.total() + held_out.total()
    assert totals["documents_repeated"] == counts["often"][2] + 2 * counts["often"][3] == by_source["often"]["repeated"]
    assert totals["documents_not_sampled"] == by_source["rare"]["not_sampled"] == 400 - by_source["rare"]["documents"]
    assert by_source["often"]["documents"] == 400 + totals["documents_repeated"]
    assert verify(str(dataset)) == []


def test_copies_lie_apart(bytes_config: BytesConfig, tmp_path: pathlib.Path) -> None:
    """Every part of the order holds its share of each source, and a document's copies are a good part of the order apart."""
    contents = {"a.txt": lines(*(f"a {i:04}" for i in range(1000))), "b.txt": lines(*(f"b {i:04}" for i in range(1000)))}
    sources = [source(tmp_path, "a", epochs=3), source(tmp_path, "b")]
    settings = {
        "sources": sources,
        "packing": {"seq_len": 7, "add_eos": True},
        "order": {"group_tokens": 500},
        "shards": {"examples": 10_000},
    }
    assert build(bytes_config(contents, **settings)) == 0
    found = provenance(tmp_path / "dataset")
    assert len(found["doc_id"]) == 4000  # a document fills an example
    from_a = np.array(found["source"]) == "a"
    shares = from_a.reshape(8, 500).mean(axis=1)
    assert abs(shares - 0.75).max() < 0.08
    places: dict[str, list[int]] = {}
    for at in np.flatnonzero(from_a).tolist():
        places.setdefault(found["doc_id"][at], []).append(at)
    gaps = [gap for at in places.values() for gap in np.diff(at)]
    assert min(gaps) > 1
    assert np.median(gaps) > 500


def test_copies_are_passes_in_the_order_of_the_text(bytes_config: BytesConfig, tmp_path: pathlib.Path) -> None:
    contents = {"a.txt": lines("a0", "a1", "a2"), "b.txt": lines("b0", "b1")}
    sources = [source(tmp_path, "a", epochs=2), source(tmp_path, "b", epochs=3)]
    for group_tokens in (1, 7, 1000):
        config = bytes_config(contents, sources=sources, packing={"seq_len": 3}, order={"mode": "source", "group_tokens": group_tokens})
        assert build(config, "--overwrite") == 0
        found = ["".join(chr(token - 3) for token in row[:2]) for row in records(tmp_path / "dataset")["tokens"]]
        assert found == ["a0", "a1", "a2", "b0", "b1", "a0", "a1", "a2", "b0", "b1", "b0", "b1"]


def test_copies_draw_anew(bytes_config: BytesConfig, tmp_path: pathlib.Path) -> None:
    """Random choices inside a document differ from copy to copy."""
    contents = {"a.txt": lines(*(f"{i} what is in here is cut somewhere" for i in range(20)))}
    objective = {"name": "fill_in_the_middle", "prefix_id": 256, "suffix_id": 257, "middle_id": 258, "rate": 1.0}
    packing = {"seq_len": 64, "mode": "pad"}
    config = bytes_config(contents, sources=[source(tmp_path, "a", epochs=2)], packing=packing, objective=objective)
    assert build(config) == 0
    rows = records(tmp_path / "dataset")["tokens"]
    assert len(rows) == 40 and len({row.tobytes() for row in rows}) > 35


def test_splits_of_a_source(bytes_config: BytesConfig, tmp_path: pathlib.Path) -> None:
    contents = {f"{name}.txt": lines(*(f"{name} {i:03}" for i in range(100))) for name in ("web", "exam", "code")}
    sources = [source(tmp_path, "web"), source(tmp_path, "exam", splits={"test": "100%"}), source(tmp_path, "code", splits={})]
    assert build(bytes_config(contents, sources=sources, splits={"validation": "20%"}, packing=PADDED, order={})) == 0
    dataset = tmp_path / "dataset"
    found = {split: Counter(name for name, _ in taken(dataset, split)) for split in ("train", "validation", "test")}
    assert found["test"] == {"exam": 100}
    assert set(found["validation"]) == {"web"} and 8 < found["validation"]["web"] < 35
    assert found["train"] == {"web": 100 - found["validation"]["web"], "code": 100}
    assert verify(str(dataset)) == []


def test_nothing_to_train_on_is_said(bytes_config: BytesConfig, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = bytes_config({"a.txt": lines("text")}, sources=[source(tmp_path, "a", splits={"test": "100%"})])
    assert build(config) == 2
    assert "leave none to train on" in capsys.readouterr().err


def test_filters_of_a_source(bytes_config: BytesConfig, tmp_path: pathlib.Path) -> None:
    (tmp_path / "bad.txt").write_text("Nasty\n")
    contents = {name: lines("one", "one two three", "a nasty two three", "a { b c") for name in ("a.txt", "b.txt", "c.txt")}
    sources = [
        source(tmp_path, "a"),
        source(tmp_path, "b", filters={"min_words": 0, "bad_words": None}),
        source(tmp_path, "c", filters={"drop_phrases": ["{"]}),
    ]
    filters = {"min_words": 2, "bad_words": str(tmp_path / "bad.txt")}
    assert build(bytes_config(contents, sources=sources, filters=filters, packing=PADDED)) == 0
    dataset = tmp_path / "dataset"
    found = statistics(dataset)
    assert {name: found[name]["filtered_by_reason"] for name in found} == {
        "a": {"bad_word": 1, "too_few_words": 1},
        "b": {},
        "c": {"bad_word": 1, "phrase_found": 1, "too_few_words": 1},
    }
    assert manifest.read(str(dataset)).totals["documents_filtered"] == {"bad_word": 2, "phrase_found": 1, "too_few_words": 2}
    assert sorted(texts_in(dataset)) == sorted(["one two three", "a { b c", *contents_of(contents["b.txt"]), "one two three"])
    assert verify(str(dataset)) == []
    assert str(tmp_path) not in (dataset / "manifest.json").read_text()


def contents_of(data: bytes) -> list[str]:
    return data.decode().splitlines()


def test_a_changed_list_of_words_is_another_dataset(
    bytes_config: BytesConfig, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tmp_path / "bad.txt"
    words.write_text("nasty")
    stage = {"stage": str(tmp_path / "stage")}
    config = bytes_config({"a.txt": lines("so nasty", "so cruel")}, filters={"bad_words": str(words)}, packing=PADDED, execution=stage)
    assert build(config) == 0
    assert texts_in(tmp_path / "dataset") == ["so cruel"]
    words.write_text("cruel")
    assert build(config) == 1
    assert "holds a finished dataset with other input files" in capsys.readouterr().err
    assert build(config, "--overwrite") == 0
    assert texts_in(tmp_path / "dataset") == ["so nasty"]


def test_lines_are_taken_out_and_counted(bytes_config: BytesConfig, tmp_path: pathlib.Path) -> None:
    text = "Menu\nThis line stays here.\nJavascript is needed for this.\nThis one too."
    contents = {"a.jsonl": b"\n".join(json.dumps({"text": t}).encode() for t in (text, "Menu", "Whole as it was."))}
    sources = [{"name": "a", "files": [str(tmp_path / "text/a.jsonl")]}]
    filters = {"lines": {"end_marks": ["."], "drop_phrases": ["javascript"]}}
    assert build(bytes_config(contents, sources=sources, filters=filters, packing=PADDED)) == 0
    dataset = tmp_path / "dataset"
    assert sorted(texts_in(dataset)) == ["This line stays here.\nThis one too.", "Whole as it was."]
    found = statistics(dataset)["a"]
    assert found["filtered_by_reason"] == {"no_line_left": 1}
    assert found["lines_removed_by_reason"] == {"line_with_phrase": 1, "line_without_end_mark": 2}
    assert found["modified"] == 1
    assert found["characters_removed"] == len("Menu\n") + len("Javascript is needed for this.\n") + len("Menu")
    assert found["characters"] == len("This line stays here.\nThis one too.Whole as it was.")


def names_of(name: str, texts: list[str]) -> list[int]:
    """The keys of the lines of a source's only file."""
    positions = np.cumsum([0, *(len(text.encode()) + 1 for text in texts[:-1])])
    return position_keys(name, f"{name}.txt", positions).tolist()


def best(holders: list[int]) -> int:
    return min(holders, key=lambda name: int(hash_tables.ranks(np.array([name], dtype=np.uint64))[0]))


def test_duplicate_documents(bytes_config: BytesConfig, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of each stays, in all sources and splits together, and the one whose name says so, in whatever blocks and ranges it is found."""
    texts = {name: [f"text {(i * i + start) % 60:02}" for i in range(200)] for name, start in (("a", 0), ("b", 13), ("c", 29))}
    contents = {f"{name}.txt": lines(*found) for name, found in texts.items()}
    settings = {"duplicates": {"remove": "documents"}, "splits": {"validation": "20%"}, "packing": PADDED, "order": {"group_tokens": 300}}
    sources = [source(tmp_path, name) for name in texts]
    assert build(bytes_config(contents, sources=sources, **settings)) == 0
    dataset = tmp_path / "dataset"
    monkeypatch.setattr(hash_tables, "_RANGE_ENTRIES", 10)
    assert (
        build(bytes_config(contents, sources=sources, **settings), "--output", str(tmp_path / "b"), "--set", "execution.block_mb=0.0002")
        == 0
    )
    assert tree_digest(dataset) == tree_digest(tmp_path / "b")

    holders: dict[str, list[int]] = {}
    for name, found in texts.items():
        for key, text in zip(names_of(name, found), found, strict=True):
            holders.setdefault(text, []).append(key)
    expected = {best(found): text for text, found in holders.items()}
    low = int(0.2 * 2**64)
    assert sorted(texts_in(dataset, "validation")) == sorted(text for key, text in expected.items() if key < low)
    assert sorted(texts_in(dataset)) == sorted(text for key, text in expected.items() if key >= low)
    totals = manifest.read(str(dataset)).totals
    assert totals["documents_duplicate"] == 600 - len(expected) == sum(found["duplicates"] for found in statistics(dataset).values())
    assert verify(str(dataset)) == []


def test_duplicates_of_one_name(bytes_config: BytesConfig, tmp_path: pathlib.Path) -> None:
    """Where an id names two documents, the first in the text stays, in whatever blocks they are."""
    rows = [{"id": "x", "text": "same", "n": 0}, {"id": "y", "text": "other", "n": 1}, {"id": "x", "text": "same", "n": 2}]
    contents = {"a.jsonl": b"\n".join(json.dumps(row).encode() for row in rows)}
    sources = [{"name": "a", "files": [str(tmp_path / "text/a.jsonl")], "id_field": "id", "metadata_fields": ["n"]}]
    for block_mb in (1, 0.00001):
        settings = {"duplicates": {"remove": "documents"}, "packing": PADDED, "execution": {"block_mb": block_mb}}
        assert build(bytes_config(contents, sources=sources, **settings), "--overwrite") == 0
        assert sorted(provenance(tmp_path / "dataset")["meta.n"]) == ["0", "1"]


@pytest.mark.parametrize(("unit", "break_"), [("paragraphs", "\n\n"), ("lines", "\n")])
def test_duplicate_text(bytes_config: BytesConfig, tmp_path: pathlib.Path, unit: str, break_: str) -> None:
    rng = np.random.default_rng(0)
    parts = [[f"part {number:02}" for number in rng.integers(0, 90, 3)] + ["-"] for _ in range(150)]
    contents = {"a.jsonl": b"\n".join(json.dumps({"id": str(i), "text": break_.join(p)}).encode() for i, p in enumerate(parts))}
    sources = [{"name": "a", "files": [str(tmp_path / "text/a.jsonl")], "id_field": "id"}]
    remove = {"remove": unit, "min_characters": 2}
    settings = {"sources": sources, "duplicates": remove, "packing": PADDED, "filters": {"min_characters": 3}}
    assert build(bytes_config(contents, **settings)) == 0
    dataset = tmp_path / "dataset"
    assert build(bytes_config(contents, **settings), "--output", str(tmp_path / "b"), "--set", "execution.block_mb=0.0005") == 0
    assert tree_digest(dataset) == tree_digest(tmp_path / "b")

    names = [keys.key("document", "a", str(i)) for i in range(len(parts))]
    owner = {text: best([names[i] for i, p in enumerate(parts) if text in p]) for p in parts for text in p if text != "-"}
    expected = []
    for name, found in zip(names, parts, strict=True):
        kept = [text for text in dict.fromkeys(found) if text == "-" or owner[text] == name]
        if kept != ["-"]:
            expected.append(break_.join(kept))
    assert sorted(texts_in(dataset)) == sorted(expected)
    found = statistics(dataset)["a"]
    assert found["lines_removed_by_reason"] == {f"duplicate_{unit[:-1]}": 450 - len(owner)}
    assert found["filtered_by_reason"] == {"too_few_characters": 150 - len(expected)}
    assert verify(str(dataset)) == []


def test_a_stage_without_duplicates_is_not_taken_for_another(bytes_config: BytesConfig, tmp_path: pathlib.Path) -> None:
    """What goes from one file depends on the others, so its tokens in a kept stage directory do too."""
    contents = {"a.txt": lines("shared", "a alone"), "b.txt": lines("b alone")}
    settings = {"packing": PADDED, "execution": {"stage": str(tmp_path / "stage"), "block_mb": 1e-6}}
    for unit in ("lines", "documents", "none"):
        for other in (["b alone"], ["b alone", "shared", "a alone"], ["b alone"]):
            contents["b.txt"] = lines(*other)
            assert build(bytes_config(contents, **settings, duplicates={"remove": unit}), "--overwrite") == 0
            expected = ["shared", "a alone", *other]
            assert sorted(texts_in(tmp_path / "dataset")) == sorted(set(expected) if unit != "none" else expected)


SENTENCES = {"sentences": "rules", "seq_len": 64}
PAIRS = {"mode": "segment_pairs", **SENTENCES, "separator_id": 3, "add_eos": False, "options": {"first_id": 1}}


@pytest.mark.parametrize(
    "packing",
    [
        {"mode": "wrap_within_document", "seq_len": 64},
        {"mode": "first_fit", "seq_len": 64, "per_source": True},
        {"mode": "next_fit", "seq_len": 64, "long_documents": "truncate"},
        {"mode": "full_sentences", **SENTENCES},
        PAIRS,
    ],
    ids=lambda packing: str(packing["mode"]),
)
def test_every_layout(write_config: Callable[..., str], corpus: pathlib.Path, tmp_path: pathlib.Path, packing: dict[str, Any]) -> None:
    assert build(write_config(**selection(corpus, "documents"), packing=packing)) == 0
    assert verify(str(tmp_path / "dataset")) == []
    found = {}
    for epochs in (1, 3):
        directory = tmp_path / str(epochs)
        assert build(write_config(sources=[{"files": [str(corpus)], "epochs": epochs}], packing=packing, output=str(directory))) == 0
        found[epochs] = json.loads((directory / "statistics.json").read_text())["splits"]
    assert found[3]["train"]["tokens"] == 3 * found[1]["train"]["tokens"]
    assert found[3]["validation"] == found[1]["validation"]


def test_all_together(bytes_config: BytesConfig, tmp_path: pathlib.Path) -> None:
    """Duplicates are found among what the filters leave, and weights are of what is left then."""
    texts = [f"document {i % 80:02}" for i in range(300)]
    contents = {"a.txt": lines(*texts, *["short"] * 10, "tiny"), "b.txt": lines(*texts[:200])}
    filters = {"min_words": 2, "lines": {"drop_phrases": ["tiny"]}}
    sources = [source(tmp_path, "a", epochs=1.5, filters=filters), source(tmp_path, "b", epochs=0.5, splits={"test": 0.25})]
    settings = {"sources": sources, "duplicates": {"remove": "documents"}, "packing": PADDED, "order": {"group_tokens": 300}}
    assert build(bytes_config(contents, **settings)) == 0
    dataset = tmp_path / "dataset"
    totals, found = manifest.read(str(dataset)).totals, statistics(dataset)
    assert totals["documents_filtered"] == {"no_line_left": 1, "too_few_words": 10}
    assert totals["documents_duplicate"] == 500 - 80
    assert found["a"]["not_sampled"] == 0 and found["b"]["repeated"] == 0
    train = Counter(texts_in(dataset))
    assert set(train.values()) == {1, 2}
    written = train.total() + len(texts_in(dataset, "test"))
    assert totals["documents_written"] == written == 80 + totals["documents_repeated"] - totals["documents_not_sampled"]
    assert verify(str(dataset)) == []
    assert cli.main(["report", str(dataset)]) == 0
    page = (dataset / "report.html").read_text()
    for text in ("duplicate of another", "not sampled", "repeats among those written", "line with phrase", "filtered: too few words"):
        assert text in page
    for name in ("documents_not_sampled", "documents_repeated", "documents_duplicate"):
        assert f"<td>{totals[name]:,}</td>" in page


@pytest.mark.parametrize(("field", "total"), [("duplicates", "documents_duplicate"), ("not_sampled", "documents_not_sampled")])
def test_numbers_of_sources_are_verified(bytes_config: BytesConfig, tmp_path: pathlib.Path, field: str, total: str) -> None:
    contents = {name: lines("one", "two", "three") for name in ("a.txt", "b.txt")}
    assert build(bytes_config(contents, sources=[source(tmp_path, "a"), source(tmp_path, "b")], packing=PADDED)) == 0
    path = tmp_path / "dataset/statistics.json"
    found = json.loads(path.read_text())
    found["sources"]["b"][field] += 1
    path.write_text(json.dumps(found))
    datasets.sign(tmp_path / "dataset")
    assert verify(str(tmp_path / "dataset")) == [f"statistics.json: its sources make {total} 1, the manifest says 0"]

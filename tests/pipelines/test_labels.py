"""Labels, from the fields of the text to batches: classes, and entities token by token as others align them."""

from __future__ import annotations

import json
import pathlib
import random
import shutil
from typing import Any

import numpy as np
import pytest
import tokenizers
import yaml

import tokenreel
from pipelines import cli
from tests import verification_datasets as datasets
from tests.pipelines.test_build import provenance
from tokenreel.errors import ConfigError
from tokenreel.format import labels, manifest
from tokenreel.inspection.examples import read_example
from tokenreel.inspection.verification import verify

TOPICS, KINDS = ["World", "Sports", "Tech"], ["PER", "LOC"]
NAMES = {"Anna": "PER", "Bob Müller": "PER", "Paris": "LOC", "São Tomé": "LOC", "東京": "LOC"}


def documents(count: int = 120) -> list[dict[str, Any]]:
    """Texts of names and other words; some without a class, some without entities, some whose entities are not told."""
    draw, made = random.Random(5), []
    for number in range(count):
        text, entities = "", []
        for _ in range(draw.randrange(1, 14)):
            if draw.random() < 0.4:
                name = draw.choice(list(NAMES))
                entities.append([len(text), len(text) + len(name), NAMES[name]])
                text += name
            else:
                text += draw.choice(["met", "on", "day", "naïve", "x,"])
            text += draw.choice([" ", " ", "", "  "])
        if number % 3:
            entities = [dict(zip(("start", "end", "label"), entity, strict=True)) for entity in entities]
        told = {"entities": entities} if number % 5 else {}
        made.append({"text": text or "x", "id": f"d{number}", "topic": draw.choice([*TOPICS, None]), **told})
    return made


def tokenizer(folder: pathlib.Path, texts: list[str]) -> str:
    """A byte-level BPE, whose tokens begin and end inside of characters and of names."""
    made = tokenizers.ByteLevelBPETokenizer()
    made.train_from_iterator(texts, vocab_size=300, special_tokens=["<eos>", "<pad>"])
    made.save(str(folder / "tokenizer.json"))
    return str(folder / "tokenizer.json")


HUGGINGFACE = {"kind": "huggingface", "options": {"eos_id": "<eos>", "pad_id": "<pad>"}}
INFILLING = {"name": "fill_in_the_middle", "prefix_id": 5, "suffix_id": 6, "middle_id": 7}
CASES: dict[str, dict[str, Any]] = {
    "pad": {"packing": {"mode": "pad", "seq_len": 24}},
    "pad_truncated": {"packing": {"mode": "pad", "seq_len": 16, "long_documents": "truncate"}},
    "within": {"packing": {"mode": "wrap_within_document", "seq_len": 16, "overlap": 1}},
    "one_segment": {"packing": {"mode": "best_fit", "seq_len": 16, "max_segments": 1}},
    "buckets": {"packing": {"mode": "buckets", "seq_len": 8, "options": {"min_exponent": 3, "max_exponent": 4}}},
    "wrap": {"packing": {"seq_len": 16, "overlap": 1}},
    "wrap_lists": {"packing": {"seq_len": 16, "last_example": "pad"}, "shards": {"examples": 30, "format": "int64_list"}},
    "best_fit_aligned": {"packing": {"mode": "best_fit", "seq_len": 32, "align": 4}},
    "masked_variants": {"packing": {"mode": "pad", "seq_len": 24}, "objective": {"name": "masked_lm", "mask_id": 1}, "variants": 2},
}


def write(folder: pathlib.Path, rows: list[dict[str, Any]], **settings: Any) -> str:
    (folder / "text.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    packing = settings.get("packing", {})
    source = {"files": [str(folder / "text.jsonl")], "id_field": "id", "entity_fields": {"entities": KINDS}}
    if packing.get("mode") in ("pad", "wrap_within_document", "buckets") or "max_segments" in packing:
        source["label_fields"] = {"topic": TOPICS}
    config = {
        "output": str(folder / "out"),
        "sources": [{**source, **settings.pop("source", {})}],
        "vocabulary": {"offsets": True, **HUGGINGFACE, "path": str(folder / "tokenizer.json"), **settings.pop("vocabulary", {})},
        "execution": {"block_mb": 0.002},
        "shards": {"examples": 30},
        **settings,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return str(folder / "config.yaml")


def build(folder: pathlib.Path, rows: list[dict[str, Any]], **settings: Any) -> pathlib.Path:
    assert cli.main(["build", write(folder, rows, **settings), "--direct_num_workers=1"]) == 0
    return folder / "out"


def expected_tags(text: str, entities: list[Any] | None, offsets: list[tuple[int, int]]) -> list[int]:
    """BIO tags of a whole document with eos, entity by entity and token by token."""
    if entities is None:
        return [-1] * (len(offsets) + 1)
    tags = [0] * len(offsets)
    for entity in entities:
        start, end, kind = entity.values() if isinstance(entity, dict) else entity
        own = [i for i, (a, b) in enumerate(offsets) if a < end and max(b, a + 1) > start]
        for place, i in enumerate(own):
            if not tags[i]:
                tags[i] = 2 * KINDS.index(kind) + (2 if place else 1)
    return [*tags, -1]


def examples_of(dataset: pathlib.Path) -> list[dict[str, np.ndarray]]:
    """All examples of the training split: of batches, where records are fixed."""
    found = manifest.read(str(dataset))
    if found.record_format == "int64_list":
        return [read_example(str(dataset), found, "train", number)[0] for number in range(found.splits["train"].examples)]
    data = tokenreel.load(dataset)
    assert data.label_names["label_entities"] == ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    batches = data.batches(7, epochs=1, drop_remainder=False)
    return [{name: values[row] for name, values in batch.items()} for batch in batches for row in range(len(batch["example_id"]))]


@pytest.mark.parametrize("case", CASES)
def test_labels_are_those_of_the_text(tmp_path: pathlib.Path, case: str) -> None:
    """The offsets are those of the `tokenizers` library, and a document's place in an example that of the provenance table."""
    rows = documents()
    model = tokenizers.Tokenizer.from_file(tokenizer(tmp_path, [row["text"] for row in rows]))
    dataset = build(tmp_path, rows, **CASES[case])
    assert verify(str(dataset)) == []
    by_id = {row["id"]: row for row in rows}
    tags = {row["id"]: expected_tags(row["text"], row.get("entities"), model.encode(row["text"]).offsets) for row in rows}
    found, table = examples_of(dataset), provenance(dataset)
    names = {label.feature: label.names for label in labels.of_sources(manifest.read(str(dataset)).config["sources"])}
    align = CASES[case]["packing"].get("align", 1)
    columns = {name: list(table[name]) for name in ("example", "segment", "doc_id", "doc_token_start", "length")}
    wanted = {example["example_id"].item(): np.full(len(example["label_entities"]), -1) for example in found}
    topics: dict[int, int] = {}
    place = 0
    for number, segment, document, start, length in zip(*columns.values(), strict=True):
        place = 0 if segment == 0 else place
        wanted[number][place : place + length] = tags[document][start : start + length]
        place += -(-length // align) * align
        topics[number] = TOPICS.index(by_id[document]["topic"]) if by_id[document]["topic"] else -1
    for example in found:
        number = example["example_id"].item()
        assert example["label_entities"].tolist() == wanted[number].tolist(), number
        if "label_topic" in names:
            assert example["label_topic"].item() == topics[number]
    assert names["label_entities"] == ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    counted = json.loads((dataset / "statistics.json").read_text())["splits"]["train"]["labels"]
    begun = [int(sum((values == number).sum() for values in wanted.values())) for number in (1, 3)]
    assert counted["label_entities"] == {"classes": dict(zip(KINDS, begun, strict=True))}
    if "label_topic" in counted:
        assert counted["label_topic"]["unlabelled"] == sum(topic < 0 for topic in topics.values())
        assert sum(counted["label_topic"]["classes"].values()) == sum(topic >= 0 for topic in topics.values())


def test_formats_and_workers_give_the_same_bytes(tmp_path: pathlib.Path) -> None:
    rows = documents(60)
    tokenizer(tmp_path, [row["text"] for row in rows])
    dataset = build(tmp_path, rows, packing={"mode": "pad", "seq_len": 24})
    fingerprint = manifest.read(str(dataset)).fingerprint
    shutil.rmtree(dataset)
    config = write(tmp_path, rows, packing={"mode": "pad", "seq_len": 24}, execution={"block_mb": 0.01})
    assert cli.main(["build", config, "--direct_num_workers=2", "--direct_running_mode=multi_processing"]) == 0
    assert manifest.read(str(dataset)).fingerprint == fingerprint


def test_values_of_csv_and_numbers_are_names_and_json(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.csv").write_text('text,stars,entities\n"Anna left",3,"[[0, 4, ""PER""]]"\nnobody,5,\n', encoding="utf-8")
    fields: dict[str, Any] = {"files": [str(tmp_path / "a.csv")], "format": "csv", "id_field": None}
    fields |= {"label_fields": {"stars": ["3", "5"]}, "entity_fields": {"entities": KINDS}}
    plain = {"kind": "bytes", "path": None, "options": {}}
    dataset = build(tmp_path, [], source=fields, vocabulary=plain, packing={"mode": "pad", "seq_len": 10}, order={"mode": "source"})
    batch = next(iter(tokenreel.load(dataset).batches(2)))
    found = dict(zip(batch["label_stars"].tolist(), batch["label_entities"].tolist(), strict=True))
    assert found == {0: [1, 2, 2, 2, 0, 0, 0, 0, 0, -1], 1: [-1] * 10}


def test_two_sources_and_one_without_labels(tmp_path: pathlib.Path) -> None:
    rows = documents(20)
    tokenizer(tmp_path, [row["text"] for row in rows])
    config = yaml.safe_load(pathlib.Path(write(tmp_path, rows, packing={"mode": "pad", "seq_len": 24})).read_text())
    (tmp_path / "plain.jsonl").write_text('{"text": "Anna"}\n')
    config["sources"].append({"files": [str(tmp_path / "plain.jsonl")], "name": "plain"})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert cli.main(["build", str(tmp_path / "config.yaml"), "--direct_num_workers=1"]) == 0
    assert verify(str(tmp_path / "out")) == []
    counted = json.loads((tmp_path / "out/statistics.json").read_text())["splits"]["train"]["labels"]["label_topic"]
    assert counted["unlabelled"] >= 1 + sum(row["topic"] is None for row in rows)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"topic": "Politics"}, "'Politics' is none of the classes ['World', 'Sports', 'Tech']"),
        ({"entities": [[0, 3, "ORG"]]}, "'ORG' is none of the classes ['PER', 'LOC']"),
        ({"entities": [[0, 99, "PER"]]}, "an entity from character 0 to 99; the text has 4"),
        ({"entities": [[0, 3, "PER"], [2, 4, "LOC"]]}, "the entities from character 0 and 2 overlap"),
        ({"entities": [[0, "PER"]]}, "no entity with start, end and label: [0, 'PER']"),
        ({"entities": {"start": 0}}, "no list of entities"),
    ],
)
def test_documents_of_other_labels_are_dead_letters(tmp_path: pathlib.Path, change: dict[str, Any], said: str) -> None:
    rows = documents(30)
    tokenizer(tmp_path, [row["text"] for row in rows])
    wrong = {"text": "Anna", "id": "wrong", "topic": "World", "entities": [], **change}
    dataset = build(tmp_path, [*rows, wrong], packing={"mode": "pad", "seq_len": 24})
    (letter,) = map(json.loads, (dataset / "dead_letters/dead_letters.jsonl").read_text().splitlines())
    assert letter["reason"] == "bad_label" and said in letter["message"], letter
    assert verify(str(dataset)) == []
    assert manifest.read(str(dataset)).totals["documents_written"] == 30


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"source": {"label_fields": {"topic": TOPICS}}, "packing": {"mode": "wrap"}}, "an example of packing.mode wrap holds several"),
        ({"source": {"label_fields": {"topic": TOPICS}}, "packing": {"mode": "best_fit"}}, "set the mode to pad or wrap_within_document"),
        ({"vocabulary": {"offsets": False}, "packing": {"mode": "pad"}}, "needs vocabulary.offsets: true"),
        ({"source": {"label_fields": {"topic": []}}}, "sources.label_fields.topic lists the names of its classes"),
        ({"source": {"label_fields": {"topic": ["a", "a"]}}}, "each once"),
        ({"source": {"label_fields": {"entities": KINDS}}, "packing": {"mode": "pad"}}, "are both label_entities in the records"),
        ({"objective": INFILLING, "packing": {"mode": "wrap"}}, "which objective fill_in_the_middle changes"),
    ],
)
def test_labels_that_mean_nothing_are_refused(
    tmp_path: pathlib.Path, settings: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = documents(5)
    tokenizer(tmp_path, [row["text"] for row in rows])
    assert cli.main(["build", write(tmp_path, rows, **settings), "--direct_num_workers=1"]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(errors) == 1 and said in errors[0], errors
    assert not (tmp_path / "out/manifest.json").exists()


def test_a_label_that_no_record_has_names_its_setting(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"text": row["text"], "id": row["id"]} for row in documents(5)]
    tokenizer(tmp_path, [row["text"] for row in rows])
    assert cli.main(["build", write(tmp_path, rows, packing={"mode": "pad", "seq_len": 24}), "--direct_num_workers=1"]) == 2
    said = capsys.readouterr().err
    assert "has the fields `topic`, `entities`. Set sources.0.label_fields and sources.0.entity_fields to fields that there are" in said


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("labelled")
    rows = documents()
    tokenizer(folder, [row["text"] for row in rows])
    return build(folder, rows, packing={"mode": "pad", "seq_len": 24})


def test_inspect_names_labels(labelled: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(labelled), "--count", "40"]) == 0
    shown = capsys.readouterr().out
    assert "label_topic: World" in shown and "label_topic: unlabelled" in shown
    assert "LOC at " in shown and "'Paris'" in shown and "label_entities: no entity" in shown


@pytest.mark.parametrize(
    ("feature", "row", "value", "said"),
    [
        ("label_topic", 3, 7, "label_topic is 7, which has no name"),
        ("label_topic", 3, "next", "has the class"),
        ("label_entities", (3, 0), 9, "label_entities is 9 at position 0, which has no name"),
        ("label_entities", (3, -1), 0, "though no text stands there"),
        ("label_entities", "inside", 2, "inside of an entity that has no beginning"),
        ("label_entities", "outside", 1, "has other entities in 'entities' than label_entities of the record"),
    ],
)
def test_a_wrong_label_is_found(labelled: pathlib.Path, tmp_path: pathlib.Path, feature: str, row: Any, value: Any, said: str) -> None:
    """All CRCs are right: only the labels are not, and the statistics say so, too."""
    dataset = tmp_path / "out"
    shutil.copytree(labelled, dataset)
    found = manifest.read(str(dataset))

    def change(arrays: dict[str, np.ndarray]) -> None:
        values, at = arrays[feature], row
        if isinstance(row, str):
            outside = np.argwhere((values[:, :-1] == 0) & (values[:, 1:] == 0))[0]
            at = (outside[0], outside[1] + 1)
        values[at] = (values[at] + 2) % 3 if value == "next" else value

    datasets.rewrite(dataset, found.splits["train"].shards[0].file, found, change)
    datasets.sign(dataset)
    differences = verify(str(dataset))
    assert any(said in line for line in differences), differences
    if feature == "label_topic" or value == 1:
        assert any("labels is" in line for line in differences), differences


def test_mixtures_need_labels_that_mean_the_same(labelled: pathlib.Path, tmp_path: pathlib.Path) -> None:
    rows = documents(30)
    tokenizer(tmp_path, [row["text"] for row in documents()])
    other = build(tmp_path, rows, packing={"mode": "pad", "seq_len": 24}, source={"label_fields": {"topic": TOPICS[::-1]}})
    with pytest.raises(ConfigError, match="what labels mean"):
        tokenreel.Mixture({"a": tokenreel.load(labelled), "b": tokenreel.load(other)})

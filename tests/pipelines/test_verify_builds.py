"""`tokenreel verify` and the build were written apart: each checks the other, for every layout."""

import json
import pathlib
from collections.abc import Callable

import numpy as np
import pytest

from pipelines import cli
from tests import verification_datasets as datasets
from tokenreel.format import manifest, naming
from tokenreel.inspection.verification import verify

WRAP = {"seq_len": 64}
OFFSETS = {"kind": "bytes", "offsets": True}
CASES: dict[str, dict[str, object]] = {
    "wrap": {"packing": WRAP},
    "wrap_overlap_padded": {"packing": {**WRAP, "overlap": 1, "last_example": "pad", "add_bos": True}},
    "wrap_variants": {"packing": {**WRAP, "overlap": 1}, "variants": 2},
    "wrap_int64_lists": {"packing": WRAP, "shards": {"examples": 300, "format": "int64_list"}},
    "wrap_without_provenance": {"packing": WRAP, "shards": {"examples": 300, "provenance": False}},
    "wrap_bytes": {"packing": {"seq_len": 500}, "vocabulary": {"kind": "bytes"}},
    "wrap_within_document": {"packing": {"mode": "wrap_within_document", "seq_len": 64, "overlap": 1}},
    "best_fit": {"packing": {"mode": "best_fit", "seq_len": 64}},
    "best_fit_aligned": {"packing": {"mode": "best_fit", "seq_len": 64, "align": 4}},
    "first_fit": {"packing": {"mode": "first_fit", "seq_len": 64, "max_segments": 3}},
    "next_fit": {"packing": {"mode": "next_fit", "seq_len": 64}},
    "pad": {"packing": {"mode": "pad", "seq_len": 64}},
    "next_tokens": {"packing": WRAP, "objective": {"name": "next_tokens"}},
    "prefix_lm": {"packing": WRAP, "objective": {"name": "prefix_lm"}},
    "masked_lm": {"packing": WRAP, "objective": {"name": "masked_lm", "mask_id": 4}, "variants": 2},
    "t5": {"packing": WRAP, "objective": {"name": "t5", "first_sentinel_id": 599}},
    "ul2": {"packing": WRAP, "objective": {"name": "ul2", "first_sentinel_id": 599}},
    "offsets_overlap_padded": {"packing": {**WRAP, "overlap": 1, "last_example": "pad"}, "vocabulary": OFFSETS},
    "offsets_aligned": {"packing": {"mode": "best_fit", "seq_len": 64, "align": 4}, "vocabulary": OFFSETS},
    "offsets_masked": {"packing": WRAP, "objective": {"name": "masked_lm", "mask_id": 4}, "vocabulary": OFFSETS},
    "offsets_int64_lists": {"packing": WRAP, "shards": {"examples": 300, "format": "int64_list"}, "vocabulary": OFFSETS},
    "typo_noise": {"packing": WRAP, "objective": {"name": "typo_noise"}, "vocabulary": {"kind": "bytes"}},
}


def build(config: str) -> pathlib.Path:
    assert cli.main(["build", config, "--direct_num_workers=1"]) == 0
    return pathlib.Path(config).parent / "dataset"


@pytest.mark.parametrize("case", CASES)
def test_what_is_built_is_sound(write_config: Callable[..., str], case: str) -> None:
    dataset = build(write_config(**CASES[case]))
    assert verify(str(dataset)) == []
    assert cli.main(["verify", str(dataset), "--quiet"]) == 0


def test_gaps_are_checked(write_config: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    """What aligns documents must be padding, and no piece of provenance may cover it."""
    dataset = build(write_config(**CASES["best_fit_aligned"]))
    found = manifest.read(str(dataset))
    shard = found.splits["train"].shards[0].file

    def change(arrays: dict[str, np.ndarray]) -> None:
        rows, columns = np.nonzero(arrays["document_starts"] & (np.arange(64) % 4 > 0))
        arrays["tokens"][rows[0], columns[0]] = 99
        arrays["document_starts"][rows[-1], columns[-1]] = False

    datasets.rewrite(dataset, shard, found, change)
    datasets.sign(dataset)
    assert cli.main(["verify", str(dataset)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any("is padding and holds 99 instead of the pad id 0" in line for line in lines)
    assert any(line.startswith("provenance/") and "tokens, the record" in line for line in lines)


@pytest.mark.parametrize(
    ("case", "name", "value", "message"),
    [
        ("masked_lm", "mask_positions", 64, "mask_positions holds 64, the example 64 tokens"),
        ("masked_lm", "mask_ids", 600, "mask_ids holds 600, none of the vocabulary's 600 ids"),
        ("masked_lm", "mask_ids", 7, "split train: frequent_tokens is"),  # what was masked is put back and counted
        ("t5", "targets", 600, "targets holds 600, none of the vocabulary's 600 ids"),
    ],
)
def test_what_an_objective_made_is_checked(write_config: Callable[..., str], case: str, name: str, value: int, message: str) -> None:
    dataset = build(write_config(**CASES[case]))
    found = manifest.read(str(dataset))

    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays[name][:, 0] = value  # in every example, or the tokens that are most frequent might be the same

    datasets.rewrite(dataset, found.splits["train"].shards[0].file, found, change)
    datasets.sign(dataset)
    assert any(message in line for line in verify(str(dataset)))


def test_spans_are_checked(write_config: Callable[..., str]) -> None:
    dataset = build(write_config(**CASES["offsets_overlap_padded"]))
    found = manifest.read(str(dataset))
    wrong = [
        (5, 4, "characters 5 to 4, which is no range of characters"),
        (-1, 6, "characters -1 to 6, which is no range of characters"),
        (0, 1, "characters 0 to 1, before that of the token before it"),
        (2, 3, "characters 2 to 3, though no text stands there"),
    ]

    def change(arrays: dict[str, np.ndarray]) -> None:
        inside = np.flatnonzero((arrays["token_begins"][:, :6] > 0).all(axis=1))
        for row, (begin, end, _) in zip([*inside[[0, 2, 4]], -1], wrong, strict=True):  # the last one is padded
            column = 5 if row >= 0 else -1
            arrays["token_begins"][row, column], arrays["token_ends"][row, column] = begin, end

    datasets.rewrite(dataset, found.splits["train"].shards[-1].file, found, change)
    datasets.sign(dataset)
    lines = verify(str(dataset))
    for _, _, message in wrong:
        assert any("the token at position" in line and message in line for line in lines), lines


def test_a_build_with_dead_letters_is_sound(write_config: Callable[..., str], tmp_path: pathlib.Path) -> None:
    text = tmp_path / "text"
    text.mkdir()
    lines = [json.dumps({"text": f"document {i} of some"}) for i in range(200)]
    (text / "a.jsonl").write_text("\n".join([*lines, "{broken", '{"no_text": 1}', '{"text": ""}']))
    dataset = build(write_config(sources=[{"files": [str(text)]}], splits={}))
    totals = manifest.read(str(dataset)).totals
    assert totals["documents_dead_lettered"] == 2
    assert (dataset / naming.DEAD_LETTERS).exists()
    assert verify(str(dataset)) == []

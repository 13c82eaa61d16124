"""What `verify` says of a vocabulary: the special ids are recounted from the vocabulary and from the settings of the build."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from pipelines import cli
from tokenreel.format import manifest as manifests
from tokenreel.inspection.totals_checks import check_settings
from tokenreel.inspection.verification import verify
from tokenreel.inspection.vocabulary_check import check_vocabulary
from tokenreel.vocabularies.loading import load_vocabulary

CASES: dict[str, dict[str, Any]] = {
    "separator": {"packing": {"seq_len": 64, "add_eos": False, "separator_id": "a"}},
    "aligned": {"packing": {"mode": "best_fit", "seq_len": 64, "align": 4}},
    "mask": {"objective": {"name": "bert", "mask_id": "z", "special_ids": ["y", 77]}},
    "sentinels": {"objective": {"name": "t5", "first_sentinel_id": "~", "num_sentinels": 20, "mean_span": 8}},
    "modes": {"objective": {"name": "ul2", "denoisers": [{"density": 0.15, "mean_span": 8, "mode_id": "a"}]}},
    "infilling": {"objective": {"name": "fill_in_the_middle", "prefix_id": "a", "suffix_id": "b", "middle_id": 102}},
    "pad": {"objective": {"name": "typo_noise", "pad_id": "z"}, "packing": {"mode": "pad", "seq_len": 64}},
}
LETTER = {letter: ord(letter) + 3 for letter in "abyz~"}
NAMED = {
    "separator": {LETTER["a"]},
    "aligned": set(),
    "mask": {LETTER["z"], LETTER["y"], 77},
    "sentinels": set(range(LETTER["~"] - 19, LETTER["~"] + 1)),
    "modes": {LETTER["a"]},
    "infilling": {LETTER["a"], LETTER["b"], 102},
    "pad": {LETTER["z"]},
}
OWN = {0, 1, 2, *range(259, 359)}  # pad, eos, unk and a hundred sentinels


def problems(directory: pathlib.Path, change: Callable[[dict[str, Any]], Mapping[str, Any]] = lambda facts: facts) -> list[str]:
    found = manifests.read(str(directory))
    assert found.objective_facts is not None
    altered = dataclasses.replace(found, objective_facts=change(dict(found.objective_facts)))
    vocabulary = load_vocabulary(found.vocabulary.kind, None, **found.vocabulary.options)
    return list(check_vocabulary(altered, vocabulary, "vocabulary bytes"))


@pytest.mark.parametrize("case", CASES)
def test_special_ids_are_recounted(write_config: Callable[..., str], tmp_path: pathlib.Path, case: str) -> None:
    config = {"packing": {"seq_len": 64}, "vocabulary": {"kind": "bytes", "options": {"extra_ids": 100}}, **CASES[case]}
    assert cli.main(["build", write_config(**config), "--direct_num_workers=1"]) == 0
    facts = manifests.read(str(tmp_path / "dataset")).objective_facts
    assert facts is not None
    special = {i for first, last in facts["special_ids"] for i in range(first, last + 1)}
    assert special == OWN | NAMED[case]
    assert problems(tmp_path / "dataset") == []
    (problem,) = problems(tmp_path / "dataset", lambda facts: {**facts, "special_ids": facts["special_ids"][1:]})
    assert problem.startswith("vocabulary bytes: its special_ids is [[0, ")
    assert problems(tmp_path / "dataset", lambda facts: {**facts, "special_names": {}}) != []


def test_facts_of_before_are_compared_with_what_they_were(write_config: Callable[..., str], tmp_path: pathlib.Path) -> None:
    config = write_config(vocabulary={"kind": "bytes", "options": {"extra_ids": 100}}, **CASES["separator"])
    assert cli.main(["build", config, "--direct_num_workers=1"]) == 0

    def older(facts: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in facts.items() if name != "special_names"} | {"special_ids": [[0, 2]]}

    assert problems(tmp_path / "dataset", older) == []
    assert problems(tmp_path / "dataset", lambda facts: older(facts) | {"special_ids": [[0, 3]]}) == [
        "vocabulary bytes: its special_ids is [[0, 2]], the manifest says [[0, 3]]"
    ]


@pytest.mark.parametrize(
    ("given", "problem"), [(7, "record.pad_id is 8, objective.pad_id 7"), ("~", "its ~, the objective's padding, is 129")]
)
def test_padding_of_the_objectives_own(write_config: Callable[..., str], tmp_path: pathlib.Path, given: int | str, problem: str) -> None:
    config = write_config(
        objective={"name": "causal_lm", "pad_id": given}, packing={"mode": "pad", "seq_len": 64}, vocabulary={"kind": "bytes"}
    )
    assert cli.main(["build", config, "--direct_num_workers=1"]) == 0
    directory = str(tmp_path / "dataset")
    assert list(verify(directory)) == []
    found = manifests.read(directory)
    altered = dataclasses.replace(found, pad_id=8)
    vocabulary = load_vocabulary("bytes", None, **found.vocabulary.options)
    (said,) = [*check_settings(altered), *check_vocabulary(altered, vocabulary, "vocabulary bytes")]
    assert problem in said

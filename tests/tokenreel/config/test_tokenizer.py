from __future__ import annotations

import pathlib
from fractions import Fraction
from typing import Any

import pytest

from tokenreel.config.parsing import from_dict
from tokenreel.config.tokenizer import TokenizerJobConfig
from tokenreel.errors import ConfigError


def job(**settings: Any) -> TokenizerJobConfig:
    sources = [{"files": ["a"], "name": "a"}, {"files": ["b"], "name": "b", "epochs": "10%"}]
    return from_dict(TokenizerJobConfig, {"output": "o", "sources": sources, **settings})


def test_how_much_text_is_read() -> None:
    assert job().budget == 100_000_000
    assert job(kind="characters").budget is None, "characters are counted in the whole text"
    assert job(sample_bytes=7).budget == job(kind="characters", sample_bytes=7).budget == 7


def test_a_source_weighs_what_it_is_given_or_its_text_times_its_epochs() -> None:
    assert job().shares.of([30, 40]) == [30, Fraction(4)]
    assert job(weights={"a": 0.1, "b": 3}).shares.of([30, 40]) == [Fraction(1, 10), 3]


def test_a_model_is_known_by_its_settings_its_text_and_the_files_that_options_name(tmp_path: pathlib.Path) -> None:
    rules = tmp_path / "rules.tsv"
    rules.write_text("41\t61")
    options = {"vocab_size": 50, "normalization_rule_tsv": str(rules)}
    first = job(options=options).identity({"a": "digest"})
    assert job(options=options, output="elsewhere", execution={"block_mb": 3}).identity({"a": "digest"}) == first
    others = [job(options=options, seed=1).identity({"a": "digest"}), job(options=options).identity({"a": "other"})]
    rules.write_text("41\t62")
    others.append(job(options=options).identity({"a": "digest"}))
    assert len({first, *others}) == 4
    rules.unlink()
    with pytest.raises(ConfigError, match=r"options\.normalization_rule_tsv: cannot read .*rules\.tsv \(No such file"):
        job(options=options).identity({})
    assert job(kind="characters", options=options).identity({}), "only SentencePiece reads that file"

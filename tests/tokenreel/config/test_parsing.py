from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from tests.tokenreel.config.jobs import TEXT
from tokenreel.config import parsing, reading
from tokenreel.config.build import JobConfig, PackingConfig
from tokenreel.errors import ConfigError


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("packing.seq_len=long", r"packing.seq_len must be a whole number, got 'long'"),
        ("packing.seq_len=true", "must be a whole number, got True"),
        (f"execution.block_mb={'9' * 400}", "execution.block_mb must be a number or a percentage, got 9"),
        ("splits.test=1.2.3%", "splits.test must be a number or a percentage, got '1.2.3%'"),
        ("packing.overlap=2", "packing.overlap must be one of 0, 1, got 2"),
        ("packing.overlap=true", "packing.overlap must be one of 0, 1, got True"),
        ("vocabulary.knid=bytes", "unknown setting 'vocabulary.knid': did you mean 'kind'"),
    ],
)
def test_every_rule_has_a_message(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        reading.load(TEXT, [override])


def test_settings_that_numpy_computed_survive_json() -> None:
    """A length of `np.int64` is a whole number; cclm's configs end in a TypeError of `json`."""
    plain = {"output": "o", "sources": [{"files": ["f"]}], "vocabulary": {"kind": "bytes", "options": {"extra_ids": 3}}}
    given = {
        **plain,
        "vocabulary": {"kind": "bytes", "options": {"extra_ids": np.int64(3)}},
        "packing": {"seq_len": np.int32(64), "options": {}},
        "splits": {"validation": np.float64(0.25)},
        "objective": {"name": "masked_lm", "mask_id": np.uint16(4), "special_ids": np.array([1, 2])},
    }
    config = parsing.from_dict(JobConfig, given)
    settings = json.loads(json.dumps(parsing.to_dict(config)))
    assert settings["packing"]["seq_len"] == 64 and settings["objective"]["special_ids"] == [1, 2]
    direct = dataclasses.replace(config, packing=PackingConfig(seq_len=np.int64(64)), seed=np.int64(7))
    assert json.loads(json.dumps(direct.semantics())) == json.loads(json.dumps(dataclasses.replace(config, seed=7).semantics()))

from __future__ import annotations

import pytest

from tests.tokenreel.config.jobs import TEXT
from tokenreel.config import reading
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

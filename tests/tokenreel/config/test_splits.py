from __future__ import annotations

from tests.tokenreel.config.jobs import job
from tokenreel.config import splits


def test_each_source_has_its_splits() -> None:
    settings = job(
        {}, {"splits": {"test": "100%"}}, {"splits": {}}, {"splits": {"extra": 0.25, "validation": 0.5}}, splits={"validation": 0.5}
    )
    every = 1 << 64
    assert splits.split_names(settings) == ("validation", "test", "extra", "train")
    found = [splits.split_ranges(settings, source) for source in range(4)]
    assert found[0] == {"validation": (0, every // 2), "test": (0, 0), "extra": (0, 0), "train": (every // 2, every)}
    assert found[1] == {"validation": (0, 0), "test": (0, every), "extra": (0, 0), "train": (every, every)}
    assert found[2]["train"] == (0, every)
    assert found[3] == {
        "extra": (0, every // 4),
        "validation": (every // 4, 3 * every // 4),
        "test": (0, 0),
        "train": (3 * every // 4, every),
    }

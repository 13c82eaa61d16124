"""The benchmark of planning runs the code of today, and what it measures stays small."""

from __future__ import annotations

from benchmarks import scale


def test_planning() -> None:
    found = scale.plan(500)
    assert found["stage files"] == 500 and found["shards"] > 100 and found["groups"] > 100
    assert found["largest element"] < scale.LARGEST


def test_statistics_and_indexes() -> None:
    assert scale.statistics(256_000)["element"] < scale.LARGEST
    assert scale.scan(400)["hits"] > 0.9

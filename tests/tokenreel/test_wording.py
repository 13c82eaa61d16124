from __future__ import annotations

from tokenreel.wording import plural


def test_one_thing_is_not_several() -> None:
    assert [plural(count, "shard") for count in (0, 1, 2, 1_000)] == ["0 shards", "1 shard", "2 shards", "1,000 shards"]

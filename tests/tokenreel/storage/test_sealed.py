"""State is read back as it was written, or not at all."""

import json

import pytest

from tests import buckets
from tokenreel.storage import files, sealed

CONTENT = {"build": "0123", "shard": {"records": 3, "rate": 0.1, "name": "ä"}, "empty": None}


@pytest.mark.parametrize("place", ["local", "gs"])
def test_what_was_written_is_read(tmp_path, place):
    with buckets.storage() as bucket:
        path = files.join(str(tmp_path) if place == "local" else bucket, "state/build.json")
        assert sealed.read(path) is None
        sealed.write(path, CONTENT)
        assert sealed.read(path) == CONTENT
        assert json.loads(files.read_bytes(path))["content"] == CONTENT, "other tools read it as JSON"


def test_every_damage_is_noticed(tmp_path):
    path = tmp_path / "build.json"
    data = sealed.seal(CONTENT)
    damaged = [data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :] for at in range(len(data))]
    damaged += [data[:at] for at in range(len(data))] + [
        data + b"\n",
        data * 2,
        b"[" * 100_000,
        b"{}",
        b"\xff",
        json.dumps(CONTENT).encode(),
    ]
    for content in damaged:
        path.write_bytes(content)
        assert sealed.read(str(path)) is None, content[:200]


def test_a_folder_in_its_place_is_no_state(tmp_path):
    (tmp_path / "build.json").mkdir()
    assert sealed.read(str(tmp_path / "build.json")) is None
    (tmp_path / "file").write_bytes(b"")
    assert sealed.read(str(tmp_path / "file" / "build.json")) is None

import numpy as np
import pytest

from tests import verification_datasets as datasets
from tests.tokenreel.inspection.conftest import SHARD, TABLE
from tokenreel.format import manifest
from tokenreel.inspection import shard_check
from tokenreel.inspection.verification import verify


def set_at(name, row, place, value):
    def change(arrays):
        arrays[name][row, place] = value

    return change


def set_row(name, row, value):
    def change(arrays):
        arrays[name][row] = value

    return change


LAST = "train.tfrecord-00015-of-00016"  # its last example is padded


@pytest.mark.parametrize(
    ("shard", "change", "message"),
    [
        (SHARD, set_row("example_id", 3, 99), "record 3 at byte 549: example_id is 99, its place in the split is 13"),
        (SHARD, set_row("num_tokens", 3, 0), "record 3 at byte 549: num_tokens is 0, not in 1 to 33"),
        (SHARD, set_row("num_tokens", 3, 34), "record 3 at byte 549: num_tokens is 34, not in 1 to 33"),
        (SHARD, set_at("tokens", 3, 7, 259), "record 3 at byte 549: token 259 at position 7 is none of the vocabulary's 259 ids"),
        (LAST, set_at("tokens", -1, -1, 7), "position 32 is padding and holds 7 instead of the pad id 0"),
        (LAST, set_at("document_starts", -1, -1, True), "a document starts at position 32, behind the"),
        (SHARD, set_at("tokens", 3, 0, 2), "record 3 at byte 549: begins with token 2, but the record before ends with"),
        (SHARD, set_row("document_starts", slice(None), False), f"{TABLE} begins a document at position"),
        (SHARD, set_row("document_starts", slice(None), True), "begins a document at position 1, " + TABLE + " does not"),
        (SHARD, set_row("num_tokens", 3, 30), "the segments of example 13 hold 33 tokens, the record 30"),
    ],
)
def test_a_wrong_value_is_named(dataset, shard, change, message):
    """All CRCs are right: only the values are not."""
    found = manifest.read(str(dataset))
    if shard == LAST:
        fixed_format = found.fixed_format
        data = np.frombuffer((dataset / shard).read_bytes(), dtype=np.uint8).reshape(-1, fixed_format.record_bytes)
        assert fixed_format.decode(data)["num_tokens"][-1] < 33
    else:
        assert found.fixed_format.record_bytes == 183
    datasets.rewrite(dataset, shard, found, change)
    datasets.sign(dataset)
    differences = verify(str(dataset))
    assert any(message in line for line in differences), differences


def test_the_overlap_is_checked_between_chunks(dataset, monkeypatch):
    monkeypatch.setattr(shard_check, "_CHUNK_BYTES", 183)  # one record a chunk
    datasets.rewrite(dataset, SHARD, manifest.read(str(dataset)), set_at("tokens", 3, 0, 2))
    datasets.sign(dataset)
    assert any("record 3 at byte 549: begins with token 2, but the record before" in line for line in verify(str(dataset)))

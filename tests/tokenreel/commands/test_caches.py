"""The commands that look at datasets know caches of tasks."""

import json

import numpy as np
import pytest

from pipelines import cli
from tests.tokenreel.tasks.caches import write_cache, write_seqio

ROWS = [
    {"targets": np.arange(n * 20, dtype=np.int32), "text": b"text %d \x1b" % n, "names": np.array([b"a"] * n, object)} for n in range(4)
]
SHARD = "train.tfrecord-00000-of-00001"


def test_verify_compares_every_byte_of_a_cache(tmp_path, capsys):
    write_cache(tmp_path, {"train": [ROWS]})
    assert cli.main(["verify", str(tmp_path)]) == 0
    assert "sound. Cache of task a_task: train 4 examples" in capsys.readouterr().out
    (tmp_path / "train.tfrecord-00000-of-00009").write_bytes(b"")
    data = bytearray((tmp_path / SHARD).read_bytes())
    data[40] ^= 1
    (tmp_path / SHARD).write_bytes(data)
    assert cli.main(["verify", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert f"{SHARD}: crc32c is" in told and "train.tfrecord-00000-of-00009: not in the manifest" in told
    assert cli.main(["verify", "--quick", str(tmp_path)]) == 1
    (tmp_path / SHARD).write_bytes(data[:-1])
    assert cli.main(["verify", "--quick", str(tmp_path)]) == 1 and "bytes, the manifest says" in capsys.readouterr().out


@pytest.mark.parametrize("ours", [True, False])
def test_inspect_shows_examples_of_a_cache(tmp_path, capsys, ours):
    if ours:
        write_cache(tmp_path, {"train": [ROWS]})
    else:
        write_seqio(tmp_path, "train", [ROWS], {"targets": ("int32", [None]), "text": ("string", []), "names": ("string", [None])})
    assert cli.main(["inspect", str(tmp_path), "--index", "2", "--count", "1"]) == 0
    told = capsys.readouterr().out
    assert "train 2 of 4" in told and "names: ['a', 'a']" in told and r"text: text 2 \x1b" in told
    assert "targets: int32 [40]: 0 1 2" in told and "..." in told
    assert cli.main(["inspect", str(tmp_path), "--split", "test"]) == 2 and "has the splits train" in capsys.readouterr().err
    assert cli.main(["inspect", str(tmp_path), "--index", "9"]) == 2 and "has 4 examples" in capsys.readouterr().err


def test_a_cache_is_no_dataset(tmp_path, capsys):
    manifest = write_cache(tmp_path, {"train": [ROWS]})
    assert json.loads((tmp_path / "manifest.json").read_text())["fingerprint"] == manifest.fingerprint
    assert cli.main(["where", str(tmp_path), "--batch-size", "2", "--step", "0"]) != 0
    assert "cache" in capsys.readouterr().err

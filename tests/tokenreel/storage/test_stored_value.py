"""Values that travel as path and digest."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading

import pytest

from tokenreel.errors import BuildError
from tokenreel.storage import stored_value
from tokenreel.storage.stored_value import StoredValue


@pytest.fixture(autouse=True)
def _as_another_process(monkeypatch):
    monkeypatch.setattr(stored_value, "_LOADED", type(stored_value._LOADED)())


def test_a_small_value_travels_as_it_is(tmp_path):
    stored = StoredValue.store(str(tmp_path), "value", {"a": 1})
    assert list(tmp_path.iterdir()) == []
    assert pickle.loads(pickle.dumps(stored)).load() == {"a": 1}


def test_a_large_value_is_a_file_that_is_read_once(tmp_path, monkeypatch):
    stored = StoredValue.store(str(tmp_path), "value", bytes(10_000_000))
    assert len(pickle.dumps(stored)) < 1000
    assert [path.name for path in tmp_path.iterdir()] == [f"value-{stored.digest}.pickle"]
    stored_value._LOADED.clear()
    read, opened = StoredValue._read, []
    monkeypatch.setattr(StoredValue, "_read", lambda self: (opened.append(self), read(self))[1])
    found = []
    threads = [threading.Thread(target=lambda: found.append(pickle.loads(pickle.dumps(stored)).load())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 1 and len(found) == 8
    assert all(value is found[0] for value in found) and found[0] == bytes(10_000_000)


def test_the_process_that_stores_reads_nothing(tmp_path):
    value = [bytes(100_000)]
    stored = StoredValue.store(str(tmp_path), "value", value)
    os.remove(stored.path)
    assert stored.load() is value


def test_another_process_reads_the_value(tmp_path):
    stored = StoredValue.store(str(tmp_path), "value", "x" * 50_000)
    program = "import pickle, sys; print(len(pickle.load(sys.stdin.buffer).load()))"
    found = subprocess.run([sys.executable, "-c", program], input=pickle.dumps(stored), capture_output=True, check=True)
    assert found.stdout == b"50000\n"


def test_values_are_forgotten(tmp_path):
    stored = [StoredValue.store(str(tmp_path), "value", i) for i in range(100)]
    assert len(stored_value._LOADED) == stored_value._KEPT
    assert [each.load() for each in stored] == list(range(100))


@pytest.mark.parametrize("change", ["gone", "changed"])
def test_a_file_that_is_not_what_was_written_is_never_unpacked(tmp_path, change):
    stored = StoredValue.store(str(tmp_path), "value", bytes(100_000))
    stored_value._LOADED.clear()
    if change == "gone":
        os.remove(stored.path)
    else:
        with open(stored.path, "wb") as file:
            file.write(b"cos\nabort\n(tR.")  # would end the process
    with pytest.raises(BuildError, match=f"what workers read at their start (is|was) {change}.*Run the same command again"):
        stored.load()

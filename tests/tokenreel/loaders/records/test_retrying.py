import errno
import io
import threading

import numpy as np
import pytest

from tests.buckets import server, upload
from tokenreel.errors import ManifestError, StorageError
from tokenreel.loaders import load
from tokenreel.loaders.records import retrying
from tokenreel.storage import files, gcs


def test_failures_that_pass_are_tried_again(bucket, bucket_arrays, monkeypatch, fast):
    from google.api_core import exceptions

    dataset = load(bucket)
    read, calls, lock = files.read_bytes, [], threading.Lock()

    def flaky(path, offset=0, length=None, version=None, size=None):
        with lock:
            calls.append(offset)
            number = len(calls)
        if number % 5 == 1:
            raise ConnectionResetError("reset")
        if number % 5 == 2:
            raise exceptions.ServiceUnavailable("503")
        data = read(path, offset, length, version, size)
        if number % 5 == 3:
            return data[:-1]  # cut short
        if number % 5 == 4:
            return bytes([data[0], data[1] ^ 1]) + data[2:]  # altered on its way
        return data

    monkeypatch.setattr(files, "read_bytes", flaky)
    assert np.array_equal(dataset.take([0])["tokens"], bucket_arrays["tokens"][[0]])  # cut short, then altered: two that differ
    calls[:] = [0, 0, 0]
    assert np.array_equal(dataset.take([40])["tokens"], bucket_arrays["tokens"][[40]])


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(("lies", "reads"), [("others", 4), ("same", 2), ("for ever", retrying.WRONG_READS)])
def test_wrong_bytes_are_read_again_until_they_repeat(bucket, bucket_arrays, monkeypatch, fast, tmp_path, cached, lies, reads):
    """Other wrong bytes each time are those of a storage that lies, the same ones those of a damaged file."""
    dataset = load(bucket, cache=tmp_path) if cached else load(bucket)
    read, open_read, answers = files.read_bytes, files.open_read, []

    def altered(data):
        answers.append(len(data))
        if lies == "others" and len(answers) == reads:
            return data
        place = 20 if lies == "same" else 20 + len(answers)  # among the values
        return bytes([*data[:place], data[place] ^ 1, *data[place + 1 :]])

    def changed(path, *arguments, **settings):
        return altered(read(path, *arguments, **settings)) if ".tfrecord-" in path else read(path, *arguments, **settings)

    def opened(path, *arguments, **settings):
        stream = open_read(path, *arguments, **settings)
        return io.BytesIO(altered(stream.read())) if path.startswith(bucket) else stream

    monkeypatch.setattr(files, "read_bytes", changed)
    monkeypatch.setattr(files, "open_read", opened)
    if lies == "others":
        assert np.array_equal(dataset.take([0])["tokens"], bucket_arrays["tokens"][[0]])
    else:
        with pytest.raises(ManifestError, match=r"tfrecord-.*Copy"):
            dataset.take([0])
    assert len(answers) == reads


def test_failures_that_stay_are_errors(bucket, monkeypatch, fast):
    from google.api_core import exceptions

    calls = []

    def failing(error):
        def read(path, offset=0, length=None, version=None, size=None):
            if "tfrecord" in path:  # the manifest is looked at to find the reason
                calls.append(path)
            raise error

        return read

    for error, expected, attempts in (
        (TimeoutError("slow"), ManifestError, retrying.ATTEMPTS),
        (exceptions.TooManyRequests("429"), ManifestError, retrying.ATTEMPTS),
        (exceptions.Forbidden("403"), exceptions.Forbidden, 1),
        (FileNotFoundError("gone"), ManifestError, 1),
    ):
        calls.clear()
        dataset = load(bucket)
        monkeypatch.setattr(files, "read_bytes", failing(error))
        with pytest.raises(expected):
            dataset.take([0])
        monkeypatch.undo()
        monkeypatch.setattr(retrying, "DELAYS", (0.001,) * len(retrying.DELAYS))
        assert len(calls) == attempts


def test_a_storage_that_stays_away_is_waited_for_once(local, clock):
    with server() as state:
        upload(local, "gs://bucket/d")
        dataset = load("gs://bucket/d")
        for status, longest in ((503, gcs.PATIENCE), (403, 0.0)):
            state.fail = lambda number, method, path, status=status: status
            began = clock.now
            with pytest.raises(StorageError, match=f"HTTP {status}"):
                dataset.take([0])
            assert clock.now - began <= longest


def test_the_delays_are_those_that_are_stated(clock):
    calls = []

    def action(takes=0.0, error=None):
        calls.append(clock.now)
        clock.now += takes
        raise error or ConnectionResetError("reset")

    with pytest.raises(ManifestError, match="cannot be read after 15 attempts"):
        retrying.retrying(action, "f")
    assert np.diff(calls).tolist() == [0.5, 1, 2, 4, 8, 16] + [30] * 8
    calls.clear()
    with pytest.raises(ManifestError, match="cannot be read after 3 attempts"):
        retrying.retrying(lambda: action(200.0), "f")
    assert calls[-1] - (calls[0] + 200) <= gcs.PATIENCE  # none begins later than that after the first failure
    calls.clear()
    with pytest.raises(OSError, match="disk is full"):
        retrying.retrying(lambda: action(0.0, OSError(errno.ENOSPC, "disk is full")), "f")
    assert len(calls) == 1
    calls.clear()
    with pytest.raises(ManifestError, match="differs"):
        retrying.retrying(lambda: action(0.0, ManifestError("differs")), "f")
    assert len(calls) == 2

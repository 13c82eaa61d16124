import subprocess
import sys
import threading

import pytest

from tests import buckets
from tokenreel.errors import StorageError
from tokenreel.storage import files, gcs

ROOT = f"gs://{buckets.BUCKET}"


def test_a_listing_of_many_objects_takes_a_request_a_page(server):
    server.page = 100
    for i in range(450):
        server.storage.create_file(buckets.BUCKET, f"many/{i % 7}/{i:04d}.txt", b"x", describe(f"many/{i % 7}/{i:04d}.txt", 1))
    assert len(files.list_files(f"{ROOT}/many")) == 450
    assert sum("/o?" in path for _, path in server.log) == 5
    server.requests.clear()
    assert sorted(files.remote_glob(f"{ROOT}/many/3/*.txt")) == [f"{ROOT}/many/3/{i:04d}.txt" for i in range(3, 450, 7)]
    assert server.requests["GET"] == 2  # one to see that no object is called so, one for the only page of the prefix


def describe(name, size):
    moment = "2026-01-02T03:04:05.000000Z"
    return {
        "name": name,
        "bucket": buckets.BUCKET,
        "generation": "7",
        "metageneration": "1",
        "size": str(size),
        "crc32c": "AAAAAA==",
        "updated": moment,
    }


def test_failures_that_stay_are_told_plainly(server, monkeypatch):
    files.write_bytes(f"{ROOT}/x", b"data")
    monkeypatch.setattr(gcs, "PATIENCE", 0.05)
    server.fail = lambda number, method, path: 503
    for action in (files.read_bytes, files.size, files.open_read, files.list_files, files.remove):
        with pytest.raises(StorageError, match=r"the storage kept failing for 0.05 seconds \(HTTP 503\)") as caught:
            action(f"{ROOT}/x")
        assert caught.value.__cause__ is None and caught.value.__suppress_context__
    with pytest.raises(StorageError, match="cannot"):
        files.write_bytes(f"{ROOT}/y", b"data")
    server.fail = lambda number, method, path: 403
    with pytest.raises(StorageError, match=r"gs://bucket/x: not allowed to read it \(HTTP 403\).*roles/storage.objectUser"):
        files.read_bytes(f"{ROOT}/x")


def test_a_bucket_that_does_not_exist_is_named(server):
    with pytest.raises(StorageError, match="there is no bucket nowhere"):
        files.write_bytes("gs://nowhere/x", b"")
    with pytest.raises(StorageError, match="there is no bucket nowhere"):
        files.list_files("gs://nowhere/x")
    with pytest.raises(FileNotFoundError):
        files.read_bytes("gs://nowhere/x")


def test_a_checksum_reads_nothing(server, tmp_path):
    data = b"some bytes" * 1000
    for path in (f"{ROOT}/x", str(tmp_path / "x")):
        assert files.checksum(path) is None
        files.write_bytes(path, data)
    assert files.checksum(f"{ROOT}/x") == files.checksum(str(tmp_path / "x"))
    assert not any("alt=media" in path for _, path in server.log)


def test_a_touch_is_seen(server):
    server.storage.create_file(buckets.BUCKET, "x", b"", describe("x", 0))
    assert files.age(f"{ROOT}/x") > 86_400
    gcs.touch(f"{ROOT}/x")
    assert files.age(f"{ROOT}/x") < 60
    gcs.touch(f"{ROOT}/gone")


def test_threads_share_a_client(server):
    files.write_bytes(f"{ROOT}/x", bytes(1000))
    results = []
    threads = [threading.Thread(target=lambda i=i: results.append(files.read_bytes(f"{ROOT}/x", i, 1))) for i in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [b"\0"] * 40


def test_without_credentials_the_message_says_where_they_come_from(tmp_path):
    program = (
        "from tokenreel.storage import files\ntry:\n    files.size('gs://bucket/x')\nexcept Exception as e:\n    print(type(e).__name__, e)"
    )
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "NO_GCE_CHECK": "true", "PYTHONPATH": ":".join(sys.path)}
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=300)
    assert found.stdout.startswith("StorageError gs://: no valid credentials") and "gcloud auth application-default login" in found.stdout

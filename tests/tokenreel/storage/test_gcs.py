import io
import subprocess
import sys
import threading

import pytest

from tests import buckets
from tokenreel.errors import BuildError, StorageError
from tokenreel.storage import files, gcs

ROOT = f"gs://{buckets.BUCKET}"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(gcs, "FIRST_DELAY", 0.005)
    monkeypatch.setattr(gcs, "PATIENCE", 5.0)
    with buckets.server() as state:
        yield state


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


@pytest.mark.parametrize("size", [0, 1, 999, gcs.UPLOAD_BYTES, gcs.UPLOAD_BYTES + 1, 2 * gcs.UPLOAD_BYTES + 12345])
def test_failures_that_pass_are_not_seen(server, size):
    data = bytes(range(251)) * (size // 251 + 1)
    data = data[:size]
    server.every(2, 503, 429, 500)
    files.write_bytes(f"{ROOT}/x", data)
    assert files.read_bytes(f"{ROOT}/x") == data
    with files.open_read(f"{ROOT}/x") as file:
        assert file.read() == data
    assert files.list_files(ROOT) == {"x": size}
    files.remove(f"{ROOT}/x")
    server.calm()
    assert files.list_files(ROOT) == {}


def test_a_lost_answer_to_an_upload_is_no_conflict(server):
    server.fail = lambda number, method, path: buckets.DROP if method == "POST" and server.requests["POST"] == 1 else None
    files.write_bytes(f"{ROOT}/x", b"data")
    assert server.requests["POST"] == 2  # the second is refused: there is an object by then, and it is ours
    assert files.read_bytes(f"{ROOT}/x") == b"data"


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


@pytest.mark.parametrize("size", [10, gcs.UPLOAD_BYTES + 1000])
def test_of_two_writers_the_second_must_write_the_same(server, size):
    path = f"{ROOT}/shard"
    with files.write_atomic(path) as slow:
        slow.write(b"a" * (size // 2))
        files.write_bytes(path, b"a" * size)
        slow.write(b"a" * (size - size // 2))
    assert files.read_bytes(path) == b"a" * size
    before = files.remote_stat(path)
    for other in (b"b" * size, b"a" * (size - 1)):
        with pytest.raises(BuildError, match="another process wrote other bytes here"), files.write_atomic(path) as slow:
            files.write_bytes(path, b"c" * 3)
            slow.write(other)
        assert files.read_bytes(path) == b"ccc"
        files.write_bytes(path, b"a" * size)
    assert before is not None and files.remote_stat(path)[1] != before[1]


def test_bytes_that_were_damaged_on_their_way_are_an_error(server, monkeypatch):
    monkeypatch.setattr(
        "gcp_storage_emulator.handlers.objects._checksums", lambda data, found: {**found, "crc32c": "AAAAAA==", "md5Hash": None}
    )
    for size in (10, gcs.UPLOAD_BYTES + 1):
        with pytest.raises(StorageError):
            files.write_bytes(f"{ROOT}/x{size}", b"a" * size)


def test_a_reader_reads_one_generation(server):
    path = f"{ROOT}/text"
    files.write_bytes(path, b"old" * 200_000)
    _, generation = files.remote_stat(path)
    with files.open_read(path) as file, files.open_read(path, generation) as pinned:
        assert file.read(6) == pinned.read(6) == b"oldold"
        files.write_bytes(path, b"new" * 200_000)
        for stream in (file, pinned):
            with pytest.raises(FileNotFoundError):
                stream.read()
    with pytest.raises(FileNotFoundError), files.open_read(path, generation) as pinned:
        pinned.read(1)


def test_reads_are_few_and_never_twice(server):
    path = f"{ROOT}/text"
    data = bytes(range(256)) * 40_000
    files.write_bytes(path, data)
    _, generation = files.remote_stat(path)
    server.requests.clear()
    with files.open_read(path, generation) as file:
        pieces = []
        while piece := file.read(1 << 16):
            pieces.append(piece)
    assert b"".join(pieces) == data
    assert server.requests["GET"] <= 6  # 10 MB: 0.25 + 0.5 + 1 + 2 + 4 + the rest
    server.requests.clear()
    with files.open_read(path, generation) as file:
        file.seek(5_000_000)
        assert file.read(10) == data[5_000_000:5_000_010]
        assert file.read(1000) == data[5_000_010:5_001_010]
        assert file.seek(-7, io.SEEK_END) == len(data) - 7
        assert file.read() == data[-7:] and file.read() == file.read(3) == b""
        file.seek(3)
        assert file.tell() == 3
        buffer = bytearray(5)
        assert file.readinto(buffer) == 5 and bytes(buffer) == data[3:8]
    assert server.requests["GET"] <= 4


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
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.startswith("StorageError gs://: no valid credentials") and "gcloud auth application-default login" in found.stdout

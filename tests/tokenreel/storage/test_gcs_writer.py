import pytest

from tests import buckets
from tokenreel.errors import BuildError, StorageError
from tokenreel.storage import files, gcs_writer

ROOT = f"gs://{buckets.BUCKET}"


@pytest.mark.parametrize("size", [0, 1, 999, gcs_writer.UPLOAD_BYTES, gcs_writer.UPLOAD_BYTES + 1, 2 * gcs_writer.UPLOAD_BYTES + 12345])
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


@pytest.mark.parametrize("size", [10, gcs_writer.UPLOAD_BYTES + 1000])
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
    for size in (10, gcs_writer.UPLOAD_BYTES + 1):
        with pytest.raises(StorageError):
            files.write_bytes(f"{ROOT}/x{size}", b"a" * size)

import io

import pytest

from tests import buckets
from tokenreel.storage import files

ROOT = f"gs://{buckets.BUCKET}"


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
    size, generation = files.remote_stat(path)
    server.requests.clear()
    with files.open_read(path, generation, size) as file:
        pieces = []
        while piece := file.read(1 << 16):
            pieces.append(piece)
    assert b"".join(pieces) == data
    assert server.requests["GET"] <= 6  # 10 MB: 0.25 + 0.5 + 1 + 2 + 4 + the rest
    server.requests.clear()
    with files.open_read(path, generation, size) as file:
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

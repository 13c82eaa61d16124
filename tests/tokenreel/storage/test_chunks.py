from __future__ import annotations

import pathlib
import random

import pytest

from tokenreel.errors import BuildError
from tokenreel.storage import chunks, files
from tokenreel.storage.chunks import CHUNK_BYTES, Covered


@pytest.mark.parametrize("size", [0, 1, 7, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES - 2])
def test_any_flip_in_what_is_read_is_found(tmp_path: pathlib.Path, size: int) -> None:
    draw = random.Random(size)
    data = draw.randbytes(size)
    path = str(tmp_path / "x")
    whole = b"head" + chunks.covered(data)
    covered = Covered(4, 4 + size)
    assert covered.file_bytes == len(whole)

    def read(at: int, count: int) -> bytes:
        return bytes(covered.read(path, at, count, lambda begin, length: files.read_bytes(path, begin, length)))

    for _ in range(20):
        at = draw.randrange(size + 1)
        count = draw.randrange(size - at + 1)
        files.write_bytes(path, whole)
        assert read(4 + at, count) == data[at : at + count]
        if count:
            altered = bytearray(whole)
            altered[4 + draw.randrange(at, at + count)] ^= 1 << draw.randrange(8)
            files.write_bytes(path, bytes(altered))
            with pytest.raises(BuildError, match="are not those that were written"):
                read(4 + at, count)
            files.write_bytes(path, whole[: 4 + at])
            with pytest.raises(BuildError, match="ends before byte"):
                read(4 + at, count)

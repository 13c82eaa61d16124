import bz2
import gzip
import lzma

import lz4.frame
import pytest
import zstandard

from tokenreel.storage import decompression

COMPRESS = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "zstd": zstandard.compress,
    "lz4": lz4.frame.compress,
}
TEXT = b"one line after the other\n" * 20_000


def unpack(data, compression, chunk_bytes=100_000):
    chunks = (data[start : start + chunk_bytes] for start in range(0, len(data), chunk_bytes))
    return decompression.decompress(chunks, compression)


@pytest.mark.parametrize("compression", COMPRESS)
def test_members_end_to_end_are_one_stream(compression):
    data = COMPRESS[compression](TEXT) + COMPRESS[compression](b"more") + bytes(512)  # padded, as tar and tape do
    assert b"".join(unpack(data, compression)) == TEXT + b"more"


@pytest.mark.parametrize("chunk_bytes", [3, 100_000])
@pytest.mark.parametrize("compression", COMPRESS)
def test_padding_between_members_is_passed_over(compression, chunk_bytes):
    data = COMPRESS[compression](b"some") + bytes(8) + COMPRESS[compression](b" more")
    assert b"".join(unpack(data, compression, chunk_bytes)) == b"some more"


@pytest.mark.parametrize("compression", COMPRESS)
def test_a_few_bytes_that_unpack_to_many_come_in_chunks(compression):
    chunks = list(unpack(COMPRESS[compression](bytes(100 << 20)), compression))
    assert sum(map(len, chunks)) == 100 << 20 and max(map(len, chunks)) <= 32 << 20


@pytest.mark.parametrize("compression", COMPRESS)
def test_what_comes_before_the_damage_is_kept_and_the_damage_is_last(compression):
    data = COMPRESS[compression](TEXT)
    *chunks, error = unpack(data[:-6], compression)
    assert isinstance(error, EOFError) and TEXT.startswith(b"".join(chunks))
    *chunks, error = unpack(data + b"no archive", compression)
    assert isinstance(error, Exception) and b"".join(chunks) == TEXT

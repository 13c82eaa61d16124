import bz2
import gzip
import io
import lzma

import pytest
import zstandard

from tokenreel.storage import decompression

COMPRESS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard.compress}
TEXT = b"one line after the other\n" * 20_000


@pytest.mark.parametrize("ending", COMPRESS)
def test_members_end_to_end_are_one_stream(ending):
    data = COMPRESS[ending](TEXT) + COMPRESS[ending](b"more") + bytes(512)  # padded, as tar and tape do
    assert b"".join(decompression.decompress(io.BytesIO(data), ending)) == TEXT + b"more"


@pytest.mark.parametrize("ending", COMPRESS)
def test_a_few_bytes_that_unpack_to_many_come_in_chunks(ending):
    chunks = list(decompression.decompress(io.BytesIO(COMPRESS[ending](bytes(100 << 20))), ending))
    assert sum(map(len, chunks)) == 100 << 20 and max(map(len, chunks)) <= 32 << 20


@pytest.mark.parametrize("ending", COMPRESS)
def test_what_comes_before_the_damage_is_kept_and_the_damage_is_last(ending):
    data = COMPRESS[ending](TEXT)
    *chunks, error = decompression.decompress(io.BytesIO(data[:-6]), ending)
    assert isinstance(error, EOFError) and TEXT.startswith(b"".join(chunks))
    *chunks, error = decompression.decompress(io.BytesIO(data + b"no archive"), ending)
    assert isinstance(error, Exception) and b"".join(chunks) == TEXT

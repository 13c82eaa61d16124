from __future__ import annotations

import io

import pytest

from tests.tokenreel.sources.plain import COMPRESS
from tokenreel.storage import decompression


@pytest.mark.parametrize("ending", COMPRESS)
def test_a_member_is_unpacked_in_small_chunks(ending: str) -> None:
    """However little of the archive holds it all."""
    packed = COMPRESS[ending](bytes(100 << 20))
    sizes = [len(chunk) for chunk in decompression.decompress(io.BytesIO(packed), ending) if isinstance(chunk, bytes)]
    assert sum(sizes) == 100 << 20
    assert max(sizes) <= 33 << 20

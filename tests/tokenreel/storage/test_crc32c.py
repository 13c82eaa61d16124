from __future__ import annotations

import google_crc32c
from hypothesis import given
from hypothesis import strategies as st

from tokenreel.storage import crc32c


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=6))
def test_parts_end_to_end_have_the_crc_of_the_whole(parts: list[bytes]) -> None:
    crc = 0
    for part in parts:
        crc = crc32c.combine(crc, google_crc32c.value(part), len(part))
    assert crc == google_crc32c.value(b"".join(parts))


def test_a_part_of_many_gigabytes_is_combined_in_no_time() -> None:
    zeros = google_crc32c.value(bytes(1 << 20))
    crc, size = zeros, 1 << 20
    while size < 1 << 42:  # doubles what it has: 4 TiB of zeros
        crc, size = crc32c.combine(crc, crc, size), 2 * size
    one, two = google_crc32c.value(b"one"), google_crc32c.value(b"two")
    # Whichever two of three parts are combined first, the whole is the same.
    assert crc32c.combine(crc32c.combine(one, crc, size), two, 3) == crc32c.combine(one, crc32c.combine(crc, two, 3), size + 3)

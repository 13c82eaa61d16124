import os

import pytest

from tests.tokenreel.loaders.conftest import shards
from tokenreel.errors import ManifestError
from tokenreel.format import manifest as manifests
from tokenreel.loaders import load


def test_exchanged_shards_are_noticed_when_they_are_read(copy):
    a, b = shards(copy)[1], shards(copy)[4]
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second), b.write_bytes(first)
    for backend in ("mmap", "pread"):
        dataset = load(copy, backend=backend)
        dataset[0]
        with pytest.raises(ManifestError, match="00001-of-00010: record 0 at byte 0: it holds example 64, expected 16"):
            dataset[16]


def test_the_first_and_only_the_first_reading_checks(copy):
    with open(shards(copy)[1], "r+b") as file:
        fixed_format = manifests.read(str(copy)).fixed_format
        file.seek(5 * fixed_format.record_bytes + fixed_format.offsets[2] + 3)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    for backend in ("mmap", "pread"):
        load(copy, backend=backend)[21]  # off: trusted
        for crc in ("first", "always"):
            dataset = load(copy, backend=backend, crc=crc)
            dataset.take([20, 22])
            for _ in range(2):
                with pytest.raises(ManifestError, match=rf"00001-of-00010: record 5 at byte {5 * fixed_format.record_bytes:,}: its CRC"):
                    dataset.take([22, 21, 20])

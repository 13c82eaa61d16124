import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenreel import tfrecord
from tokenreel.errors import ManifestError


def test_the_crc_is_castagnolis():
    """The check value of CRC-32C, and the masked one of TensorFlow's `record_writer.cc` tests."""
    assert tfrecord.crc32c(b"123456789") == 0xE3069283
    rotated = ((0xE3069283 >> 15) | (0xE3069283 << 17)) & 0xFFFFFFFF
    assert tfrecord.masked_crc32c(b"123456789") == (rotated + 0xA282EAD8) & 0xFFFFFFFF
    assert tfrecord.crc32c(np.frombuffer(b"123456789", dtype=np.uint8)) == 0xE3069283


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_frames_are_read_back(payloads):
    data = b"".join(map(tfrecord.frame, payloads))
    assert list(tfrecord.read_frames(io.BytesIO(data), "x")) == payloads
    assert len(data) == sum(len(payload) + tfrecord.HEADER_BYTES + tfrecord.FOOTER_BYTES for payload in payloads)


@pytest.mark.tensorflow
def test_tensorflow_reads_the_frames(tmp_path):
    import tensorflow as tf

    payloads = [b"", b"one", bytes(100_000)]
    path = tmp_path / "x.tfrecord"
    path.write_bytes(b"".join(map(tfrecord.frame, payloads)))
    assert [record.numpy() for record in tf.data.TFRecordDataset(str(path))] == payloads


@pytest.mark.tensorflow
def test_frames_of_tensorflow_are_read(tmp_path):
    import tensorflow as tf

    path = tmp_path / "x.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b"one")
        writer.write(b"two")
    assert path.read_bytes() == tfrecord.frame(b"one") + tfrecord.frame(b"two")
    with path.open("rb") as file:
        assert list(tfrecord.read_frames(file, "x")) == [b"one", b"two"]


@given(st.integers(1, 40), st.integers(0, 60))
def test_crcs_of_many_payloads_are_those_of_each(rows, size):
    payloads = [bytes([row]) * size for row in range(rows)]
    frames = np.frombuffer(b"".join(map(tfrecord.frame, payloads)), dtype=np.uint8).reshape(rows, -1)
    assert tfrecord.payload_crcs(frames).tolist() == [struct.unpack("<I", frame[-4:].tobytes())[0] for frame in frames]


def test_every_altered_byte_is_noticed_and_located():
    data = tfrecord.frame(b"first") + tfrecord.frame(b"second record") + tfrecord.frame(b"third")
    begin = len(tfrecord.frame(b"first"))
    end = begin + len(tfrecord.frame(b"second record"))
    for at in range(begin, end):
        altered = bytearray(data)
        altered[at] ^= 0x40
        with pytest.raises(ManifestError, match=f"^x: record 1 at byte {begin}: "):
            list(tfrecord.read_frames(io.BytesIO(altered), "x"))


def test_every_cut_is_noticed():
    data = tfrecord.frame(b"first") + tfrecord.frame(b"second")
    whole = {0: 0, len(tfrecord.frame(b"first")): 1, len(data): 2}
    for end in range(len(data) + 1):
        file = io.BytesIO(data[:end])
        if end in whole:
            assert len(list(tfrecord.read_frames(file, "x"))) == whole[end]
        else:
            with pytest.raises(ManifestError, match=r"cut short|ends inside"):
                list(tfrecord.read_frames(file, "x"))

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.frames import payloads as payloads_of
from tests.reading import read
from tokenreel.format import tfrecord


def test_the_crc_is_castagnolis():
    """The check value of CRC-32C, and the masked one of TensorFlow's `record_writer.cc` tests."""
    assert tfrecord.crc32c(b"123456789") == 0xE3069283
    rotated = ((0xE3069283 >> 15) | (0xE3069283 << 17)) & 0xFFFFFFFF
    assert tfrecord.masked_crc32c(b"123456789") == (rotated + 0xA282EAD8) & 0xFFFFFFFF
    assert tfrecord.crc32c(np.frombuffer(b"123456789", dtype=np.uint8)) == 0xE3069283


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_frames_are_read_back(payloads):
    data = b"".join(map(tfrecord.frame, payloads))
    assert payloads_of(data) == payloads
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
    assert payloads_of(path) == [b"one", b"two"]
    assert read(path, "tfrecord").reasons == ["no_example"] * 2


@given(st.integers(1, 40), st.integers(0, 60))
def test_crcs_of_many_payloads_are_those_of_each(rows, size):
    payloads = [bytes([row]) * size for row in range(rows)]
    frames = np.frombuffer(b"".join(map(tfrecord.frame, payloads)), dtype=np.uint8).reshape(rows, -1)
    assert tfrecord.payload_crcs(frames).tolist() == [struct.unpack("<I", frame[-4:].tobytes())[0] for frame in frames]


def test_every_altered_byte_is_noticed_and_located(tmp_path):
    frames = [tfrecord.frame(payload) for payload in (b"first", b"second record", b"third")]
    begin, end = len(frames[0]), len(frames[0] + frames[1])
    for at in range(begin, end):
        altered = bytearray(b"".join(frames))
        altered[at] ^= 0x40
        (tmp_path / "x").write_bytes(altered)
        _, fault, *behind = read(tmp_path / "x", "tfrecord").faults  # the first of each file is no Example
        assert fault.position == begin and fault.message.startswith(f"record at byte {begin:,}: ")
        in_header = at - begin < tfrecord.HEADER_BYTES
        assert fault.reason == ("broken_file" if in_header else "bad_crc") and len(behind) == (not in_header)


def test_every_cut_is_noticed(tmp_path):
    data = tfrecord.frame(b"first") + tfrecord.frame(b"second")
    whole = {0: 0, len(tfrecord.frame(b"first")): 1, len(data): 2}
    for end in range(len(data) + 1):
        (tmp_path / "x").write_bytes(data[:end])
        faults = read(tmp_path / "x", "tfrecord").faults
        cut = [fault.message for fault in faults if fault.reason != "no_example"]
        if end in whole:
            assert len(faults) == whole[end] and not cut
        else:
            assert len(cut) == 1 and "the file ends inside" in cut[0]

import io
import struct
import wave
import zlib

import numpy as np
import pytest

from tokenreel.errors import ConfigError
from tokenreel.tasks import media


def chunks(data):
    """The parts of a PNG file, checked."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    found, place = {}, 8
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        body = data[place + 8 : place + 8 + length]
        assert struct.unpack(">I", data[place + 8 + length : place + 12 + length]) == (zlib.crc32(kind + body),)
        found[kind] = body
        place += 12 + length
    assert list(found) == [b"IHDR", b"IDAT", b"IEND"]
    return found


@pytest.mark.parametrize(("channels", "colour"), [(1, 0), (2, 4), (3, 2), (4, 6)])
def test_a_png_holds_the_pixels(channels, colour):
    pixels = np.arange(2 * 3 * channels, dtype=np.uint8).reshape(2, 3, channels) * 7
    found = chunks(media.png(pixels))
    assert struct.unpack(">IIBBBBB", found[b"IHDR"]) == (3, 2, 8, colour, 0, 0, 0)
    rows = np.frombuffer(zlib.decompress(found[b"IDAT"]), dtype=np.uint8).reshape(2, -1)
    assert not rows[:, 0].any() and np.array_equal(rows[:, 1:].reshape(pixels.shape), pixels)


def test_floats_are_shared_out_over_256_values_and_others_clipped():
    rows = zlib.decompress(chunks(media.png([[[0.0], [0.499], [0.5], [1.0], [7.0], [-1.0], [np.nan]]]))[b"IDAT"])
    assert list(rows) == [0, 0, 127, 127, 255, 255, 0, 0]
    assert list(zlib.decompress(chunks(media.png(np.array([[[-3], [300]]])))[b"IDAT"])) == [0, 0, 255]


def test_a_wav_holds_the_sound():
    with wave.open(io.BytesIO(media.wav([[0.0, 1.0], [-1.0, 0.5], [9.0, -9.0]], 8000))) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, 8000, 2)
        assert np.frombuffer(file.readframes(9), dtype="<i2").tolist() == [0, 32767, -32768, 16384, 32767, -32768]


def test_other_shapes_are_refused():
    for image in (np.zeros((2, 2)), np.zeros((2, 2, 5)), np.zeros((0, 2, 3))):
        with pytest.raises(ConfigError, match="1 to 4 channels, got the shape"):
            media.png(image)
    with pytest.raises(ConfigError, match=r"\[frames, channels\], got the shape \[3\]"):
        media.wav([1.0, 2.0, 3.0], 8000)

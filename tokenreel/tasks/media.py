"""Images as PNG and sounds as WAV, with what Python brings along."""

from __future__ import annotations

import io
import struct
import wave
import zlib

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ConfigError

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # of PNG, by channels: grey, grey with alpha, RGB, RGBA


def png(image: npt.ArrayLike) -> bytes:
    """Writes an image as PNG, as TensorFlow's `encode_png` would see it.

    Args:
      image: [height, width, channels] of 1 to 4 channels: floats from 0 to 1, or whole numbers from 0 to 255. Others are clipped.

    Raises:
      ConfigError: it has another shape.
    """
    values = np.asarray(image)
    if values.ndim != 3 or values.shape[2] not in _COLOUR_TYPES or not values.size:
        raise ConfigError(f"an image is [height, width, channels] with 1 to 4 channels, got the shape {list(values.shape)}")
    if values.dtype.kind == "f":
        values = np.nan_to_num(np.clip(values, 0, 1)) * 255.5  # TensorFlow's rule: each of the 256 values has an equal share
    pixels = np.clip(values, 0, 255).astype(np.uint8)
    height, width, channels = pixels.shape
    rows = np.zeros((height, 1 + width * channels), dtype=np.uint8)  # a row begins with its filter: none
    rows[:, 1:] = pixels.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows.tobytes())) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def wav(audio: npt.ArrayLike, sample_rate: int) -> bytes:
    """Writes a sound as WAV of 16 bits.

    Args:
      audio: [frames, channels] from -1 to 1; louder ones are clipped.
      sample_rate: frames a second.

    Raises:
      ConfigError: it has another shape.
    """
    values = np.asarray(audio, dtype=np.float64)
    if values.ndim != 2 or not values.shape[1]:
        raise ConfigError(f"a sound is [frames, channels], got the shape {list(values.shape)}")
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(values.shape[1])
        writer.setsampwidth(2)
        writer.setframerate(int(sample_rate))
        writer.writeframes(np.clip(np.round(np.nan_to_num(values) * 32768), -32768, 32767).astype("<i2").tobytes())
    return file.getvalue()

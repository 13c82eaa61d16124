"""Documents of given texts, as a block that was read holds them."""

from __future__ import annotations

from collections import Counter

import numpy as np

from tokenreel import ragged
from tokenreel.sources.documents import Documents
from tokenreel.sources.fault_log import FaultLog


def documents(*texts: str) -> Documents:
    encoded = [text.encode() for text in texts]
    offsets = ragged.offsets_of(np.array([len(text) for text in encoded], dtype=np.int64))
    count = np.arange(len(texts))
    data = np.frombuffer(b"".join(encoded), dtype=np.uint8)
    name = np.zeros(len(texts), np.int32), count, count.astype(np.uint64)
    return Documents(["f"], data, offsets, *name, None, None, None, [0], [Counter()], [0.0], FaultLog(1000))


def texts_of(found: Documents) -> list[str]:
    data = found.text.tobytes()
    return [data[a:b].decode() for a, b in zip(found.offsets[:-1], found.offsets[1:], strict=True)]

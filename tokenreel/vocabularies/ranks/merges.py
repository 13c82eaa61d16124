"""The merges that a file of ranks stands for.

Tiktoken knows no pairs. Of all neighbours in a unit it merges those whose joined bytes have the lowest rank, of equals the first, whatever
the two are. So a piece may have several pairs that make it; but only one of them ever does:

Say that the parts a and b of a text merge into the piece t. Every merge before lay within a, within b, or outside of both, for no part
lies across a bound that is still there. Those within were, each at its time, the lowest and first of all neighbours, and so of those
between the ends of a and b. What happened there is therefore what happens in a text that is the bytes of t alone, step by step. Nothing is
drawn in it, so it ends with the same two parts: a and b depend on t alone.

The other pairs that join into t may stand side by side, but something else always merges before they would. Leaving them out changes
nothing, and what remains is a list of pairs, one for each rank, as `BytePairs` has it. It holds for any file, whether a training made it
or not. A piece whose own bytes do not become it has no pair: it comes of a unit that is this piece as a whole, which tiktoken looks up
before it merges anything.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tokenreel import ragged
from tokenreel.vocabularies.pre_tokenizers.recognition import NotRecognised
from tokenreel.vocabularies.unit_memo.byte_pairs import BytePairs

MOST_PIECE_BYTES = 8191  # the kernels of spans count the bytes of a piece in 13 bits
_MOST_WHOLE_BYTES = 256  # units that are looked up


def byte_pairs_of_ranks(ids: Mapping[bytes, int]) -> BytePairs:
    """Makes the merges of pieces, whose ids are in the order of their ranks.

    Raises:
      NotRecognised: a piece is longer than our loops count.
    """
    from tokenreel.vocabularies.unit_memo.kernels.last_merges import last_merges

    pieces = sorted((piece for piece in ids if piece), key=ids.__getitem__)
    sizes = np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces))
    if sizes.max() > MOST_PIECE_BYTES:
        raise NotRecognised(f"a piece of {sizes.max():,} bytes")
    numbers = np.fromiter((ids[piece] for piece in pieces), dtype=np.int32, count=len(pieces))
    bounds, data = ragged.offsets_of(sizes), np.frombuffer(b"".join(pieces), dtype=np.uint8)
    left, right = last_merges(data, bounds, numbers)
    made = np.flatnonzero(left >= 0)
    whole = {pieces[i]: int(numbers[i]) for i in np.flatnonzero((left < 0) & (sizes > 1)).tolist()}
    if max(map(len, whole), default=0) > _MOST_WHOLE_BYTES:
        raise NotRecognised(f"a piece of more than {_MOST_WHOLE_BYTES} bytes that no merge makes")
    byte_ids = np.fromiter((ids.get(bytes([byte]), -1) for byte in range(256)), dtype=np.int32, count=256)
    return BytePairs(byte_ids, numbers[left[made]], numbers[right[made]], numbers[made], whole)

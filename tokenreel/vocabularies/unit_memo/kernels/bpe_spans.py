"""The loop of `bpe` that also says where tokens lie, in a module of its own: who wants ids alone neither compiles it nor loads it.

Tested in tests/tokenreel/vocabularies/unit_memo/test_memo.py.
"""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

from tokenreel.vocabularies.unit_memo.kernels.bpe import make_encode

encode = make_encode(spans=True)

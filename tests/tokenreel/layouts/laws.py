"""What holds for every layout, and layouts in a form that tests can write down."""

import numpy as np

from tokenreel.layouts import filling, table


def rows(segments: table.Layout) -> list[list[tuple[int, int, int]]]:
    """[(document, start, length), ...] of each example."""
    result: list[list[tuple[int, int, int]]] = [[] for _ in range(segments.num_examples)]
    for e, d, s, n in zip(segments.example, segments.document, segments.start, segments.length, strict=True):
        result[e].append((int(d), int(s), int(n)))
    return result


def lengths_of(segments: table.Layout) -> list[list[int]]:
    return [[n for _, _, n in row] for row in rows(segments)]


def documents(lengths: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """A token stream in which each token is unlike all others, and where each document begins in it."""
    return np.arange(1, sum(lengths) + 1, dtype=np.int32), np.cumsum([0, *lengths])[:-1]


def check_conservation(lengths: list[int], segments: table.Layout, seq_len: int, *, in_order: bool = False) -> None:
    """Invariants of every layout: nothing lost uncounted, nothing twice uncounted, nothing out of order, nothing too long."""
    assert (segments.length > 0).all()
    seen = [np.zeros(n, int) for n in lengths]
    for d, s, n in zip(segments.document, segments.start, segments.length, strict=True):
        assert s + n <= lengths[d]
        seen[d][s : s + n] += 1
    times = np.concatenate([*seen, np.zeros(0, int)])
    assert (times == 0).sum() == sum(segments.dropped.values())
    assert times.sum() - (times > 0).sum() == segments.repeated
    assert segments.num_tokens().max(initial=0) <= seq_len
    if len(segments):
        assert (np.diff(segments.example) >= 0).all() and segments.example[-1] < segments.num_examples
        assert (segments.place % segments.align == 0).all()
    if in_order:  # the stream itself
        places = list(zip(segments.document.tolist(), segments.start.tolist(), strict=True))
        assert places == sorted(places)


def check_fill(lengths: list[int], segments: table.Layout, seq_len: int) -> None:
    """What `fill` writes is what the table says, position by position."""
    tokens, offsets = documents(lengths)
    filled, starts, num_tokens = filling.fill(tokens, offsets, segments, seq_len, pad_id=0)
    expected = np.zeros((segments.num_examples, seq_len), np.int32)
    expected_starts = np.zeros((segments.num_examples, seq_len), bool)
    for e, row in enumerate(rows(segments)):
        at = 0
        for d, s, n in row:
            expected[e, at : at + n] = tokens[offsets[d] + s : offsets[d] + s + n]
            expected_starts[e, at] = at > 0 or s == 0
            end = at + n
            at += -(-n // segments.align) * segments.align
            if end < at and (d, s, n) != row[-1]:
                expected_starts[e, end] = True
        assert num_tokens[e] == (end if row else 0)
    np.testing.assert_array_equal(filled, expected)
    np.testing.assert_array_equal(starts, expected_starts)

import bisect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import LENGTHS
from tests.tokenreel.layouts.laws import check_conservation, check_fill, lengths_of, rows
from tokenreel.errors import ConfigError
from tokenreel.layouts import bin_packing, filling


def best_fit_by_item(lengths: list[int], seq_len: int, max_segments: int | None = None, align: int = 1) -> list[list[tuple[int, int, int]]]:
    """The published rule, a piece at a time."""
    pieces = [(d, s, min(seq_len, n - s)) for d, n in enumerate(lengths) for s in range(0, n, seq_len)]
    pieces.sort(key=lambda piece: (seq_len - piece[2]) // align)  # stable: input order among equals
    examples: list[list[tuple[int, int, int]]] = []
    open_examples: list[tuple[int, int, int]] = []  # (room, time at which the example came to it, example)
    for time, piece in enumerate(pieces):
        cost = -(-piece[2] // align) * align
        at = bisect.bisect_left(open_examples, (cost, -1, -1))
        if at < len(open_examples):
            room, _, e = open_examples.pop(at)
        else:
            room, e = seq_len, len(examples)
            examples.append([])
        examples[e].append(piece)
        if room - cost and len(examples[e]) != max_segments:
            bisect.insort(open_examples, (room - cost, time, e))
    return examples


class TestBestFit:
    def test_figure_1_of_the_paper(self):
        assert lengths_of(bin_packing.best_fit([14, 7, 5, 2, 3], 8)) == [[8], [7], [6, 2], [5, 3]]

    def test_trl_docstring(self):
        tokens = np.arange(1, 12)
        for long_documents, expected in [
            ("truncate", [[1, 2, 3, 4], [8, 9, 10, 11], [6, 7, 0, 0]]),
            ("split", [[1, 2, 3, 4], [8, 9, 10, 5], [6, 7, 11, 0]]),
        ]:
            layout = bin_packing.best_fit([5, 2, 3, 1], 4, long_documents=long_documents)
            filled, _, _ = filling.fill(tokens, [0, 5, 7, 10], layout, 4, pad_id=0)
            assert filled.tolist() == expected
        assert bin_packing.best_fit([5, 2, 3, 1], 4, long_documents="truncate").dropped == {"truncated": 1}
        assert bin_packing.best_fit([5, 2, 3, 1], 4, long_documents="drop").dropped == {"too_long": 5}

    def test_tells_best_fit_from_first_fit(self):
        layout = bin_packing.best_fit([7, 10, 10, 4, 1, 11, 1], 12)
        assert [[d for d, _, _ in row] for row in rows(layout)] == [[5, 4], [1], [2], [0, 3, 6]]

    def test_volume_bound_is_not_always_reached(self):
        assert bin_packing.best_fit([12, 5, 5, 8, 6, 10, 11, 3], 12).num_examples == 6

    @settings(max_examples=400)
    @given(LENGTHS, st.integers(1, 30), st.one_of(st.none(), st.integers(1, 4)))
    def test_equals_the_rule_item_by_item(self, lengths, seq_len, max_segments):
        layout = bin_packing.best_fit(lengths, seq_len, max_segments)
        assert rows(layout) == best_fit_by_item(lengths, seq_len, max_segments)
        check_conservation(lengths, layout, seq_len)
        check_fill(lengths, layout, seq_len)
        if max_segments is None:
            assert sum(2 * sum(row) <= seq_len for row in lengths_of(layout)) <= 1
        assert layout.num_segments().max(initial=0) <= (max_segments or len(lengths) + 1)
        whole = {d for d, n in enumerate(lengths) if 0 < n <= seq_len}
        assert sorted(d for row in rows(layout) for d, _, n in row if d in whole and n == lengths[d]) == sorted(whole)

    @pytest.mark.parametrize("seed", range(30))
    def test_equals_the_rule_on_large_sets(self, seed):
        rng = np.random.default_rng(seed)
        lengths = np.minimum(rng.lognormal(4, 1.5, 1500), 3000).astype(int).tolist()
        for max_segments in (None, 3):
            assert rows(bin_packing.best_fit(lengths, 512, max_segments)) == best_fit_by_item(lengths, 512, max_segments)

    @given(LENGTHS, st.integers(1, 8), st.integers(1, 5), st.one_of(st.none(), st.integers(1, 4)))
    def test_align(self, lengths, units, align, max_segments):
        layout = bin_packing.best_fit(lengths, units * align, max_segments, align)
        assert rows(layout) == best_fit_by_item(lengths, units * align, max_segments, align)
        check_conservation(lengths, layout, units * align)
        check_fill(lengths, layout, units * align)

    @given(st.permutations([3, 3, 9, 1, 4, 4, 4, 12, 20, 2]))
    def test_patterns_follow_from_the_histogram(self, lengths):
        assert lengths_of(bin_packing.best_fit(lengths, 12)) == lengths_of(bin_packing.best_fit(sorted(lengths), 12))


class TestNextAndFirstFit:
    SETTINGS = (LENGTHS, st.integers(1, 8), st.integers(1, 4), st.one_of(st.none(), st.integers(1, 4)))

    @given(*SETTINGS, st.integers(1, 4))
    def test_first_fit_equals_the_rule_item_by_item(self, lengths, units, align, max_segments, open_examples):
        seq_len = units * align
        layout = bin_packing.first_fit(lengths, seq_len, open_examples, max_segments, align)
        examples: list[list[tuple[int, int, int]]] = []
        opened: list[int] = []

        def used(e):
            return sum(-(-n // align) * align for *_, n in examples[e])

        for d, length in enumerate(lengths):
            for s in range(0, length, seq_len):
                n = min(seq_len, length - s)
                fitting = [e for e in opened if used(e) + -(-n // align) * align <= seq_len]
                if not fitting:
                    opened = opened[1:] if len(opened) == open_examples else opened
                    examples.append([])
                    fitting = [len(examples) - 1]
                    opened = opened + fitting
                examples[fitting[0]].append((d, s, n))
                opened = [e for e in opened if used(e) < seq_len and len(examples[e]) != max_segments]
        assert rows(layout) == examples
        check_conservation(lengths, layout, seq_len)
        check_fill(lengths, layout, seq_len)

    @given(*SETTINGS)
    def test_next_fit_is_first_fit_with_one_open(self, lengths, units, align, max_segments):
        seq_len = units * align
        assert rows(bin_packing.next_fit(lengths, seq_len, max_segments, align)) == rows(
            bin_packing.first_fit(lengths, seq_len, 1, max_segments, align)
        )

    @given(LENGTHS, st.integers(1, 12))
    def test_seqio_packs_batches_apart(self, lengths, seq_len):
        layout = bin_packing.next_fit(lengths, seq_len, flush_every=seq_len, long_documents="truncate")
        expected = []
        for at in range(0, len(lengths), seq_len):
            part = bin_packing.next_fit(lengths[at : at + seq_len], seq_len, long_documents="truncate")
            expected += [[(d + at, s, n) for d, s, n in row] for row in rows(part)]
        assert rows(layout) == expected
        check_conservation(lengths, layout, seq_len, in_order=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bin_packing.best_fit([3], 10, align=4), "must divide packing.seq_len, got 4 and 10; seq_len 8 would work"),
        (lambda: bin_packing.best_fit([3], 10, 0), "max_segments must be at least 1"),
        (lambda: bin_packing.best_fit([3], 10, long_documents="cut"), "'split', 'truncate' or 'drop', got 'cut'"),
    ],
)
def test_impossible_settings(call, message):
    with pytest.raises(ConfigError, match=message):
        call()

import json
import pathlib

import numpy as np
import pytest

from tests.tokenreel.layouts.laws import rows
from tokenreel import keys
from tokenreel.errors import ConfigError
from tokenreel.layouts import bin_packing, modes, one_document, segment_pairs, wrapping

GOLDEN = pathlib.Path(__file__).parents[2] / "golden/packing.json"


class TestLayOut:
    def test_by_name(self):
        assert rows(modes.lay_out([14, 11], mode="wrap", seq_len=8, overlap=None)) == rows(wrapping.wrap([14, 11], 8))
        layout = modes.lay_out([2, 1], mode="full_sentences", seq_len=8, sentences=[4, 3, 2], cross_documents=False)
        assert rows(layout) == [[(0, 0, 7)], [(1, 0, 2)]]

    def test_every_mode_takes_an_empty_group(self):
        for mode in modes.MODES:
            assert modes.lay_out([], mode=mode, seq_len=256, sentences=[]).num_examples == 0

    @pytest.mark.parametrize(
        ("settings_", "message"),
        [
            ({"mode": "worst_fit", "seq_len": 8}, "must be one of wrap, wrap_within_document, .* got 'worst_fit'"),
            ({"mode": "best_fit", "seq_len": 8, "overlap": 1}, "packing.overlap is not a setting of mode best_fit, which has max_segments"),
            ({"mode": "next_fit", "seq_len": 8, "flush_every": 0}, "flush_every must be at least 1"),
            ({"mode": "first_fit", "seq_len": 8, "open_examples": 0}, "open_examples must be at least 1"),
            ({"mode": "pad", "seq_len": 8, "long_documents": "cut"}, "'split', 'truncate' or 'drop'"),
            ({"mode": "wrap_within_document", "seq_len": 8, "last_example": "cut"}, "'drop' or 'pad'"),
            ({"mode": "best_fit", "seq_len": 9, "align": 2}, "seq_len 8 would work"),
        ],
    )
    def test_impossible_settings_fail_before_there_are_documents(self, settings_, message):
        with pytest.raises(ConfigError, match=message):
            modes.check(**settings_)

    def test_sentences_are_needed(self):
        with pytest.raises(ConfigError, match="needs the lengths of the sentences"):
            modes.lay_out([3], mode="full_sentences", seq_len=8)


def layout_digests():
    """Layouts of 300 fixed documents."""
    lengths = np.array([int(n) % 97 * (1 + 9 * (int(n) % 7 == 0)) for n in keys.bits(0, "test/lengths", np.arange(300), 1)[:, 0]])
    flat, per_document = [n for total in lengths for n in (total // 3, total - total // 3)], np.full(300, 2)
    layouts = {mode: modes.lay_out(lengths, mode=mode, seq_len=64) for mode in modes.MODES if mode not in ("full_sentences", "buckets")}
    layouts["full_sentences"] = modes.lay_out(per_document, mode="full_sentences", seq_len=64, sentences=flat)
    layouts["wrap_overlap"] = wrapping.wrap(lengths, 64, 1, last_example="pad")
    layouts["best_fit_align"] = bin_packing.best_fit(lengths, 64, 4, 8)
    layouts["next_fit_seqio"] = bin_packing.next_fit(lengths, 64, flush_every=64, long_documents="truncate")
    layouts |= {f"bucket_{length}": layout for length, layout in one_document.buckets(lengths, 3, 8).items()}
    tables = {name: (s.example, s.document, s.start, s.length) for name, s in layouts.items()}
    for task in ("next_sentence", "sentence_order"):
        pairs = segment_pairs.plan(flat, per_document, np.arange(300), 64, seed=1, variant=2, task=task)
        tables[f"pairs_{task}"] = (pairs.document, pairs.start, pairs.length, pairs.label)
    return {name: keys.digest(*(np.ascontiguousarray(column, "<i8").tobytes() for column in columns)) for name, columns in tables.items()}


def test_golden_layouts():
    """A change here moves the tokens of every dataset that is built again: raise `packing.VERSION` or `segment_pairs.VERSION` with it."""
    golden = json.loads(GOLDEN.read_text())
    assert golden == {"packing": modes.VERSION, "segment_pairs": segment_pairs.VERSION, **layout_digests()}

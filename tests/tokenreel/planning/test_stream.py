import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import DENOISERS, LENGTHS
from tests.tokenreel.layouts.laws import rows
from tokenreel.config.build import JobConfig, PackingConfig, VocabularyConfig
from tokenreel.config.corpus import SourceConfig
from tokenreel.layouts import wrapping
from tokenreel.planning import stream
from tokenreel.planning.recipe import make_recipe
from tokenreel.vocabularies.byte_level import ByteVocabulary


class TestCuts:
    @settings(deadline=None)
    @given(st.integers(0, 300), st.integers(1, 7), st.integers(1, 20), DENOISERS, st.sampled_from(["drop", "pad"]), LENGTHS)
    def test_shards_of_a_stream_cut_at_will(self, seed, every, chunk, denoisers, last_example, lengths):
        config = JobConfig(
            output="x",
            sources=(SourceConfig(files=("x",)),),
            vocabulary=VocabularyConfig(kind="bytes", options={"extra_ids": 100}),
            packing=PackingConfig(seq_len=16, last_example=last_example),
            objective={"name": "ul2", "denoisers": denoisers},
            seed=seed,
        )
        recipe = make_recipe(config, ByteVocabulary(extra_ids=100))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stream, "_CHUNK", chunk)
            self.check(stream.Stream(recipe), every, last_example, lengths)

    def check(self, cut, every, last_example, lengths):
        def raw_lengths(ids):
            return cut.recipe.objective.raw_lengths(ids, seed=cut.recipe.config.seed)

        total = sum(lengths)
        number = cut.count(total)
        begins = [cut.begin(example) for example in range(0, number, every)]
        cuts = np.append(0, np.cumsum(raw_lengths(np.arange(number))))
        following = cuts[-1] + raw_lengths(np.array([number]))[0]
        assert begins == cuts[:-1][::every].tolist()
        assert cuts[-1] <= total < following if last_example == "drop" else cuts[-2:].min() <= total <= cuts[-1]
        whole = wrapping.wrap_cuts(lengths, 0, cuts)
        used = min(int(cuts[-1]), total)
        assert whole.length.sum() == used and whole.num_tokens().max(initial=0) <= cut.recipe.objective.raw_length()
        for first in range(0, number, every):
            ids = np.arange(first, min(number, first + every))
            assert rows(cut.lay_out(lengths, 0, first, len(ids))) == rows(whole.select(ids))

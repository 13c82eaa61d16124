"""Subword regularisation (Kudo 2018) and BPE dropout (Provilkov et al. 2020), the same for a document however often it is tokenized."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tokenreel import keys, ragged
from tokenreel.errors import VocabularyError
from tokenreel.vocabularies.base import Vocabulary
from tokenreel.vocabularies.sentencepiece.sampler import VERSION
from tokenreel.vocabularies.sentencepiece.vocabulary import SentencePieceVocabulary

_PURPOSE = "subword_sampling"  # names the random bits; datasets depend on it
_PROBED_PIECES = 64  # the longest ones, which tell most about how a library reads a model
_FIRM = 1e6  # alpha at which nothing but the best segmentation is left


class SampledVocabulary(Vocabulary):
    """A vocabulary that encodes each document at random, as the seed and the document's name decide.

    Its fingerprint covers the settings and the seed too.
    """

    def __init__(self, vocabulary: Vocabulary, *, alpha: float, nbest_size: int, seed: int) -> None:
        """Tests whether the model can be sampled, as the installed library understands it.

        Args:
          vocabulary: what to sample.
          alpha: of a unigram model the exponent of the probabilities, of a BPE model the share of merges left out.
          nbest_size: how many of the best segmentations a draw chooses among; -1 stands for all.
          seed: the build's.

        Raises:
          VocabularyError: it cannot be sampled.
        """
        if not isinstance(vocabulary, SentencePieceVocabulary):
            raise VocabularyError("vocabulary.sampling needs a vocabulary of kind sentencepiece")
        self._vocabulary, self._alpha, self._nbest_size, self._seed = vocabulary, alpha, nbest_size, seed
        self.vocab_size, self.data, self.releases_gil = vocabulary.vocab_size, vocabulary.data, False
        self.pad_id, self.bos_id = vocabulary.pad_id, vocabulary.bos_id
        self.eos_id, self.unk_id = vocabulary.eos_id, vocabulary.unk_id
        self.fingerprint = keys.digest(VERSION, vocabulary.fingerprint, repr(float(alpha)), nbest_size, seed)
        self._words: npt.NDArray[np.uint64] | None = None  # [n] of the texts of a block
        self._test()

    def for_documents(self, document_keys: npt.NDArray[np.uint64]) -> SampledVocabulary:
        """Gives the vocabulary for a block of documents with these [n] uint64 keys."""
        return self._with(keys.streams(self._seed, _PURPOSE, document_keys))

    def for_sentences(self, counts: npt.NDArray[np.int64]) -> SampledVocabulary:
        """Gives the vocabulary for the sentences of the documents, [n] int64 `counts` of each."""
        assert self._words is not None
        return self._with(keys.words_at(np.repeat(self._words, counts), ragged.ranks(counts)))

    def _with(self, words: npt.NDArray[np.uint64]) -> SampledVocabulary:
        bound = copy.copy(self)
        bound._words = words
        return bound

    def encode_block(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Encodes the documents of `for_documents`, or the sentences of `for_sentences`.

        Raises:
          VocabularyError: neither was called for as many texts.
        """
        if self._words is None or len(self._words) != len(offsets) - 1:
            raise VocabularyError(
                f"sampling is keyed by document: call for_documents with the keys of the {len(offsets) - 1} documents first"
            )
        return self._vocabulary.sample_block(text, offsets, self._words, alpha=self._alpha, nbest_size=self._nbest_size)

    def encode(self, text: str) -> list[int]:
        """Encodes without sampling: a text alone has no name."""
        return self._vocabulary.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Turns ids into text."""
        return self._vocabulary.decode(ids)

    def piece(self, token: int) -> str | None:
        """Writes a token as the model does."""
        return self._vocabulary.piece(token)

    def added_tokens(self) -> dict[int, bool]:
        """Lists what are no ordinary pieces of the model."""
        return self._vocabulary.added_tokens()

    def refused(self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> Mapping[int, tuple[str, str]]:
        """Lists the documents that cannot be encoded."""
        return self._vocabulary.refused(text, offsets)

    def _test(self) -> None:
        """Compares what is drawn with what the library encodes, where there is no choice.

        Segmentations are drawn here and not by the library, whose seeded generator gives other numbers in every process. So this is what
        would show that the library reads models in another way.
        """
        pieces = (self.piece(token) or "" for token in range(self.vocab_size))
        words = [piece for piece in pieces if not (piece.startswith("<") and piece.endswith(">"))]
        longest = "".join(sorted(words, key=lambda piece: (-len(piece), piece))[:_PROBED_PIECES]).replace("▁", " ")
        unigram = self._vocabulary.is_unigram
        for text in (longest, longest[::-1], "  Ein Maß\t\u00e9\u0301 日本語 \U0001f600 "):
            data = np.frombuffer(text.encode(), dtype=np.uint8)
            zero = np.zeros(1, dtype=np.uint64)
            ids, _ = self._vocabulary.sample_block(data, np.array([0, len(data)]), zero, alpha=_FIRM if unigram else 0.0, nbest_size=-1)
            drawn, encoded = ids.tolist(), self._vocabulary.encode(text)
            # Of a unigram's segmentations with all but one score the library takes any.
            score, best = self._vocabulary.score(drawn), self._vocabulary.score(encoded)
            if (abs(score - best) > 1e-5 * abs(best) if unigram else drawn != encoded) or self.decode(drawn) != self.decode(encoded):
                raise VocabularyError(
                    "vocabulary.sampling: the installed sentencepiece reads this model in another way than is known here, so what would be "
                    "drawn is not what the model means. Install sentencepiece>=0.2.3,<0.3, or leave vocabulary.sampling out."
                )


class Sampling(Protocol):
    """The settings `vocabulary.sampling` of a config: see `SampledVocabulary`."""

    @property
    def alpha(self) -> float: ...  # noqa: D102

    @property
    def nbest_size(self) -> int: ...  # noqa: D102


def sampled(vocabulary: Vocabulary, settings: Sampling | None, *, seed: int) -> Vocabulary:
    """Gives the vocabulary that tokenizes a config's text: the one given, unless `settings` ask for sampling.

    Raises:
      VocabularyError: the vocabulary cannot be sampled.
    """
    if settings is None:
        return vocabulary
    return SampledVocabulary(vocabulary, alpha=settings.alpha, nbest_size=settings.nbest_size, seed=seed)

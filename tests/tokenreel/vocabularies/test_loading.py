from __future__ import annotations

import pytest

from tokenreel.errors import VocabularyError
from tokenreel.vocabularies.loading import load_vocabulary


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("nonsense",), {}, "vocabulary.kind"),
        (("bytes",), {"memo_bytes": 1}, "takes no option 'memo_bytes'"),
        (("sentencepiece", "x"), {"colour": 1}, "takes no option 'colour'"),
        (("sentencepiece", "/nowhere/at.all"), {}, "cannot read the SentencePiece model"),
    ],
)
def test_what_cannot_be_loaded_is_named(arguments, options, message):
    with pytest.raises(VocabularyError, match=message):
        load_vocabulary(*arguments, **options)

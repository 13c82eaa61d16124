from __future__ import annotations

import dataclasses

import pytest

from tests import verification_datasets as datasets
from tokenreel.errors import TokenreelError, VocabularyError
from tokenreel.vocabularies.loading import load_vocabulary, open_stored


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


def test_what_a_forged_manifest_names_is_refused_with_its_place(tmp_path):
    made = datasets.make(tmp_path, documents={"train": 3})
    for change in ({"kind": "\x1b[2J"}, {"kind": "characters", "file": ""}, {"options": {"a": 1}}):
        forged = dataclasses.replace(made, vocabulary=dataclasses.replace(made.vocabulary, **change))
        with pytest.raises(TokenreelError, match=str(tmp_path)):
            open_stored(str(tmp_path), forged)

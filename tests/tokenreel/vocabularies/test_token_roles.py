from __future__ import annotations

import json

import pytest

from tokenreel.errors import VocabularyError
from tokenreel.vocabularies.token_roles import ROLES, Tokens, describe_roles, find_roles

# As Qwen's: an ordinary piece with the name of an end, and the added tokens behind all pieces.
QWEN = {"a": 0, "</s>": 1, "<s>": 2, "<|endoftext|>": 3, "<|im_start|>": 4, "<|im_end|>": 5}


def tokens(ids=QWEN, pieces=("a", "</s>", "<s>"), unk_id=None, **beside) -> Tokens:
    added = {name: i for name, i in ids.items() if name not in pieces}
    files = {name: content if isinstance(content, bytes) else json.dumps(content).encode() for name, content in beside.items()}
    beside = {f"{name}.json": data for name, data in files.items()}
    return Tokens(path="tokenizer.json", ids=ids, added=added, vocab_size=len(ids), unk_id=unk_id, beside=beside)


def found(known: Tokens, **given) -> dict[str, int]:
    return {role: i for role, i in find_roles(known, given).items() if i is not None}


def test_ordinary_pieces_have_no_role():
    """`</s>` and `<s>` would begin and end documents here, and texts hold them."""
    assert found(tokens()) == {"eos": 3}
    assert found(tokens({"</s>": 0, "<s>": 1}, pieces=("</s>", "<s>"))) == {}


def test_the_files_beside_decide_before_usual_names():
    beside = {
        "eos_token": "<|im_end|>",
        "pad_token": {"content": "<|endoftext|>", "special": True},
        "bos_token": None,
        "model_max_length": 9,
    }
    assert found(tokens(tokenizer_config=beside)) == {"eos": 5, "pad": 3}
    assert found(tokens(special_tokens_map={"eos_token": "<|im_end|>"})) == {"eos": 5}
    assert found(tokens(tokenizer_config={"eos_token": "<|im_end|>"}, special_tokens_map={"eos_token": "<|im_end|>"})) == {"eos": 5}
    assert found(tokens(tokenizer_config={"eos_token": None}, special_tokens_map={"eos_token": "<|im_end|>"})) == {"eos": 5}
    assert found(tokens(tokenizer_config={"eos_token": None})) == {}
    assert found(tokens(tokenizer_config={"pad_token": "[PAD]"})) == {"eos": 3}  # which the tokenizer does not have


def test_options_decide_before_all():
    beside = {"eos_token": "<|im_end|>"}
    assert found(tokens(tokenizer_config=beside), eos=1, bos="<|im_start|>", cls=0, sep="<|im_end|>", mask=4) == {
        "eos": 1,
        "bos": 4,
        "cls": 0,
        "sep": 5,
        "mask": 4,
    }
    two = tokens({"</s>": 0, "<|endoftext|>": 1}, pieces=())
    assert found(two, eos="</s>") == {"eos": 0} and found(two, eos=1) == {"eos": 1}


def test_the_model_itself_says_what_is_unknown():
    ids = {"[UNK]": 0, "?": 1}
    assert found(tokens(ids, pieces=("?",), unk_id=1)) == {"unk": 1}
    assert found(tokens(ids, pieces=("?",), unk_id=1, tokenizer_config={"unk_token": "[UNK]"})) == {"unk": 1}
    assert found(tokens(ids, pieces=("?",), unk_id=1), unk="?") == {"unk": 1}
    assert found(tokens(ids, pieces=("?",))) == {"unk": 0}
    # GPT-2's file names one token for all, and its model knows every byte.
    same = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    assert found(tokens({"<|endoftext|>": 0}, pieces=(), tokenizer_config=same)) == {"bos": 0, "eos": 0}


@pytest.mark.parametrize("role", ROLES)
def test_several_that_fit_are_refused_and_listed(role):
    names = {"pad": ("<pad>", "[PAD]"), "bos": ("<s>", "<bos>"), "eos": ("</s>", "<|endoftext|>"), "unk": ("<unk>", "[UNK]")}
    names |= {"mask": ("<mask>", "[MASK]"), "cls": ("[CLS]", "<cls>"), "sep": ("[SEP]", "<sep>")}
    one, other = names[role]
    both = tokens({"a": 0, one: 1, other: 2}, pieces=("a",))
    with pytest.raises(VocabularyError) as refused:
        find_roles(both, {})
    said = str(refused.value)
    assert said.startswith(f"tokenizer.json: several tokens may be its {role}: ") and "\n" not in said
    assert f"{one!r} (1)" in said and f"{other!r} (2)" in said and f"Set vocabulary.options.{role}_id to one of them." in said
    for choice in (one, 1):
        assert found(both, **{role: choice})[role] == 1
    assert found(tokens(both.ids, ("a",), tokenizer_config={f"{role}_token": other}))[role] == 2


@pytest.mark.parametrize(
    ("beside", "given", "message"),
    [
        ({}, {"eos": "</s>"}, r"vocabulary.options.eos_id: '</s>' \(1\) is an ordinary piece.* Added tokens are '<\|endoftext\|>' \(3\), "),
        ({}, {"eos": "</S>"}, "vocabulary.options.eos_id: the tokenizer has no token '</S>'"),
        ({}, {"sep": 1.5}, "vocabulary.options.sep_id: the tokenizer has no token 1.5"),
        ({}, {"cls": 6}, "vocabulary.options.cls_id: the tokenizer has no token 6"),
        (
            {"tokenizer_config": {"eos_token": "<|im_end|>"}, "special_tokens_map": {"eos_token": "<|endoftext|>"}},
            {},
            r"several tokens may be its eos: '<\|im_end\|>' \(5, tokenizer_config.json\), '<\|endoftext\|>' \(3, special_tokens_map.json\)",
        ),
        (
            {"tokenizer_config": {"eos_token": "</s>"}},
            {},
            r"tokenizer_config.json beside it has eos_token, but '</s>' \(1\) is an ordinary piece.*Set vocabulary.options.eos_id",
        ),
        ({"tokenizer_config": b"{"}, {}, "tokenizer_config.json beside it is not JSON"),
        ({"tokenizer_config": b"[" * 100_000}, {}, "tokenizer_config.json beside it is not JSON"),
        ({"special_tokens_map": []}, {}, "special_tokens_map.json beside it holds no JSON object"),
        ({"special_tokens_map": {"eos_token": 5}}, {}, "eos_token in special_tokens_map.json beside it is the name of a token, got 5"),
    ],
)
def test_what_is_refused(beside, given, message):
    with pytest.raises(VocabularyError, match=message) as refused:
        find_roles(tokens(**beside), given)
    assert "\n" not in str(refused.value)


def test_roles_are_described():
    assert describe_roles({"pad": 3, "eos": 3}, {3: "<|endoftext|>"}) == "pad '<|endoftext|>' (3), eos '<|endoftext|>' (3)"
    assert describe_roles({"pad": None}, {}) == "no pad"

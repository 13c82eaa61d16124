from __future__ import annotations

import base64
import json

import pytest

from tests import rank_files
from tokenreel.errors import VocabularyError
from tokenreel.vocabularies.ranks.rank_files import read_ranks

IDS = {bytes([byte]): byte for byte in range(256)} | {b"ab": 256, b"abc": 257, b"bc": 258, b"cd": 259}
LINES = rank_files.write(IDS)


def test_a_file_reads_back():
    found = read_ranks("a.tiktoken", LINES)
    assert found.ids == IDS and found.vocab_size == 260 and found.pattern is None and found.special == {}
    assert read_ranks("a.tiktoken", LINES.replace(b"\n", b"\r\n") + b"\n").ids == IDS


def test_ranks_may_have_gaps_and_whispers_empty_piece_is_one():
    found = read_ranks("a.tiktoken", LINES + b"= 300\n")
    assert found.ids[b""] == 300 and found.vocab_size == 301


@pytest.mark.parametrize(
    ("change", "about"),
    [
        (lambda lines: lines + b"YWI= 300\n", "line 261 is 'YWI= 300', but line 257 has the same piece"),
        (lambda lines: lines + b"eHg= 256\n", "line 261 is 'eHg= 256', but line 257 has the same rank"),
        (lambda lines: lines + b"e%hg= 300\n", "line 261 is .* is no base64"),
        (lambda lines: lines + b"eHg 300\n", "line 261 is .* is no base64"),
        (lambda lines: lines + b"eHg=\n", "line 261 is .* a piece in base64, a space and its rank"),
        (lambda lines: lines + b"eHg= 300 1\n", "a space and its rank"),
        (lambda lines: lines + b"eHg= -1\n", "a space and its rank"),
        (lambda lines: lines + b"   \n", "line 261 is '   ', but"),
        (lambda lines: lines + b"eHg= 99999999\n", "ranks must be below 16,777,216"),
        (lambda lines: lines[:500], "line"),
        (lambda lines: b"".join(lines.splitlines(keepends=True)[:60]), "196 of the bytes|183 of the bytes"),
        (lambda lines: lines.replace(b"YQ== 97\n", b""), "1 of the bytes have no rank, the first 0x61"),
        (lambda lines: b"", "empty"),
        (lambda lines: b"\x1f\x8b\x08", "gunzip"),
        (lambda lines: b"\n\x0e\n\x05<unk>", "line"),
    ],
)
def test_a_bad_line_is_named(change, about):
    with pytest.raises(VocabularyError, match=about) as refused:
        read_ranks("a.tiktoken", change(LINES))
    assert str(refused.value).startswith("a.tiktoken: ")


def test_bytes_that_no_text_holds_may_be_missing():
    lines = b"".join(line for line in LINES.splitlines(keepends=True) if base64.b64decode(line.split()[0])[0] not in (0xC0, 0xFF))
    assert len(read_ranks("a", lines).ids) == 258


def test_tekken_counts_its_special_tokens_first_and_so_many_pieces():
    found = read_ranks("tekken.json", rank_files.write_tekken(rank_files.tekken(IDS, "p", special=22)))
    assert found.pattern == "p" and found.vocab_size == 22 + 257 and found.ids[b"ab"] == 22 + 256
    assert b"abc" not in found.ids  # beyond `default_vocab_size`
    assert [found.special[name] for name in ("<unk>", "<s>", "</s>", "<pad>", "[TOOL_CONTENT]")] == [0, 1, 2, 11, 19]
    assert found.special["<SPECIAL_20>"] == 20 and len(found.special) == 22
    named = [{"rank": 1, "token_str": "<s>", "is_control": True}, {"rank": 0, "token_str": "<unk>", "is_control": True}]
    found = read_ranks("tekken.json", rank_files.write_tekken(rank_files.tekken(IDS, "p", special=3, named=named)))
    assert found.special == {"<s>": 1, "<unk>": 0, "<SPECIAL_2>": 2}


@pytest.mark.parametrize(
    ("change", "about"),
    [
        (lambda content: content.pop("vocab"), "KeyError: 'vocab'"),
        (lambda content: content["config"].update(pattern=3), "of another kind"),
        (lambda content: content["config"].update(default_vocab_size=True), "of another kind"),
        (lambda content: content["config"].update(default_vocab_size=10_000), "it has 260 pieces and 30 special tokens, and 10,000 in all"),
        (lambda content: content["config"].update(default_num_special_tokens=10_000), "in all"),
        (lambda content: content["vocab"][7].update(rank=9), r"vocab\[7\] has the rank 9"),
        (lambda content: content["vocab"][7].update(token_bytes="CA=="), r"vocab\[8\] has the rank 8, and its bytes are there twice"),
        (lambda content: content["vocab"][7].update(token_bytes="!"), r"vocab\[7\] is"),
        (lambda content: content["vocab"].__setitem__(7, 3), r"vocab\[7\] is 3"),
        (lambda content: content.update(special_tokens=[{"rank": 0}]), "special_tokens"),
        (lambda content: content.update(special_tokens=[{"rank": 40, "token_str": "a"}]), "ranks are below 30"),
        (lambda content: content.update(special_tokens=[{"rank": 0, "token_str": "a"}, {"rank": 0, "token_str": "b"}]), "one rank"),
        (lambda content: content.update(special_tokens=[{"rank": 0, "token_str": "a"}, {"rank": 1, "token_str": "a"}]), "one name"),
    ],
)
def test_a_tekken_that_is_none_says_what_is_wrong(change, about):
    content = rank_files.tekken(IDS, "p")
    change(content)
    with pytest.raises(VocabularyError, match=about):
        read_ranks("tekken.json", json.dumps(content).encode())


def test_json_that_is_cut_off_is_no_tekken():
    with pytest.raises(VocabularyError, match="JSONDecodeError"):
        read_ranks("tekken.json", rank_files.write_tekken(rank_files.tekken(IDS, "p"))[:-40])

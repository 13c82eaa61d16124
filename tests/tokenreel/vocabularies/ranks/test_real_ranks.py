"""Files of ranks that people train with, which packages bring: ids, and spans, against tiktoken and the packages' own tokenizers.

`make test-tokenizers` installs the packages and prints a line for each file.
"""

from __future__ import annotations

import dataclasses
import gzip
import importlib
import struct
import sys
import types
import unicodedata

import pytest

from tests import rank_files
from tests.real_texts import documents, languages, package
from tests.tokenreel.vocabularies.blocks import block, split
from tokenreel.vocabularies.loading import load_vocabulary
from tokenreel.vocabularies.ranks.patterns import PATTERNS
from tokenreel.vocabularies.unit_memo.byte_pairs import BytePairMemo

pytestmark = pytest.mark.tokenizers
DECODED = 20_000  # characters of texts whose spans are compared: the library takes them token by token


@dataclasses.dataclass(frozen=True)
class Real:
    """A file, what to say of it, and the `Encoding` that its package makes."""

    file: bytes
    pattern: str
    encoding: object


def alone(name, module):
    """A module of a package whose other modules need what is not installed."""
    parent = types.ModuleType(f"alone_{name.replace('.', '_')}")
    parent.__path__ = [str(package(name.split(".")[0]).joinpath(*name.split(".")[1:]))]
    sys.modules[parent.__name__] = parent
    return importlib.import_module(f"{parent.__name__}.{module}")


def of_whisper(name):
    file = (package("whisper") / "assets" / f"{name}.tiktoken").read_bytes()
    return Real(file, "gpt2", alone("whisper", "tokenizer").get_encoding(name))


def of_dashscope(name):
    path = package("dashscope") / "resources" / f"{name}.tiktoken"
    return Real(path.read_bytes(), "qwen", alone("dashscope.tokenizers", "qwen_tokenizer").QwenTokenizer(str(path))._tokenizer)


def of_bpe_openai(name):
    import tiktoken
    from bpe_openai import registry

    made = getattr(registry, name)()
    known = name.removesuffix("_base")
    pattern = known if PATTERNS.get(known) == made["pat_str"] else made["pat_str"]
    assert (pattern == known) == (known in PATTERNS)
    return Real(gzip.decompress((package("bpe_openai") / "data" / f"{name}.tiktoken.gz").read_bytes()), pattern, tiktoken.Encoding(**made))


def of_quicktok(name):
    """Its own format: how many, and of each the number of bytes, the bytes and the rank."""
    data, at, ids = (package("quicktok") / "data" / f"{name}.vocab").read_bytes(), 4, {}
    while at < len(data):
        (size,) = struct.unpack_from("<H", data, at)
        ids[data[at + 2 : at + 2 + size]] = struct.unpack_from("<I", data, at + 2 + size)[0]
        at += 6 + size
    assert len(ids) == struct.unpack_from("<I", data)[0]
    special = {f"<|{name}|>": max(ids.values()) + 1 + i for i, name in enumerate(("begin_of_text", "end_of_text", "im_end"))}
    return Real(rank_files.write(ids), name, rank_files.library(ids, PATTERNS[name], special))


def load(path, file, **options):
    path.write_bytes(file)
    found = load_vocabulary("tiktoken", str(path), **options)
    assert isinstance(found.memo, BytePairMemo), found.memo
    return found


def compare(name, found, expected):
    """Prints the line of a file, and fails where documents differ."""
    differ = sum(a != b for a, b in zip(found, expected, strict=True))
    print(f"\n{name}: {len(expected):,} documents in {len(languages())} languages, differing {differ}")
    assert differ == 0


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (of_whisper, "gpt2"),
        (of_whisper, "multilingual"),
        (of_dashscope, "qwen"),
        (of_bpe_openai, "cl100k_base"),
        (of_bpe_openai, "o200k_base"),
        (of_bpe_openai, "voyage3_base"),
        (of_quicktok, "llama3"),
    ],
)
def test_ranks(tmp_path, make, name):
    real = make(name)
    special = real.encoding._special_tokens
    texts = [*documents(), *(f"a{each} b {each}{each}" for each in [*special][:50])]
    for special_tokens, how in ((False, "encode_ordinary"), (True, "all special tokens allowed")):
        options = {"pattern": real.pattern, "added_tokens": special, "special_tokens": special_tokens, "eos_id": max(special.values())}
        ours = load(tmp_path / "a.tiktoken", real.file, **options)
        assert ours.vocab_size == real.encoding.n_vocab
        ids, lengths, begins, ends = ours.encode_block_with_offsets(*block(texts))
        found = split(ids, lengths)
        expected = [real.encoding.encode(t, allowed_special="all") if special_tokens else real.encoding.encode_ordinary(t) for t in texts]
        compare(f"{make.__name__[3:]} {name}, {how}", found, expected)
        assert any(set(special.values()) & {*each} for each in found) == special_tokens
        for text, own, first in zip(texts, found, split(begins, lengths), strict=True):
            if len(text) < DECODED and not special_tokens:
                assert real.encoding.decode_with_offsets(own) == (text, first)
        assert [ours.decode(each) for each in found] == texts and (ends >= begins).all()


def test_qwens_own_tokenizer(tmp_path):
    """It puts texts into NFC, and cuts those of more than 100,000 characters, which tiktoken once could not take."""
    module = alone("dashscope.tokenizers", "qwen_tokenizer")
    path = package("dashscope") / "resources" / "qwen.tiktoken"
    theirs = module.QwenTokenizer(str(path))
    texts = [unicodedata.normalize("NFC", text) for text in documents() if len(text) < module._CHUNK_SIZE // 2]
    ours = load(tmp_path / "a", path.read_bytes(), pattern="qwen", added_tokens=theirs._special_tokens, special_tokens=True, eos_id=151643)
    compare("dashscope qwen, its own tokenizer", split(*ours.encode_block(*block(texts))), [theirs.encode(text) for text in texts])


@pytest.mark.parametrize("file", ["tekken_240718.json", "tekken_240911.json"])
def test_tekken(tmp_path, file):
    from mistral_common.tokens.tokenizers.tekken import SpecialTokenPolicy, Tekkenizer

    path = package("mistral_common") / "data" / file
    theirs, ours = Tekkenizer.from_file(path), load(tmp_path / file, path.read_bytes())
    texts = documents()
    ids, lengths, *_ = ours.encode_block_with_offsets(*block(texts))
    found = split(ids, lengths)
    compare(f"mistral_common {file}", found, [theirs.encode(text, bos=False, eos=False) for text in texts])
    assert (ours.vocab_size, ours.unk_id, ours.bos_id, ours.eos_id, ours.pad_id) == (
        theirs.n_words, theirs.unk_id, theirs.bos_id, theirs.eos_id, theirs.pad_id,
    )  # fmt: skip
    for token in range(theirs.num_special_tokens):
        assert ours.piece(token) == theirs.id_to_piece(token)
    assert [ours.decode(each) for each in found] == texts
    assert [theirs.decode(each, SpecialTokenPolicy.KEEP) for each in found[:500]] == texts[:500]
    named = load(tmp_path / file, path.read_bytes(), special_tokens=True)
    slow = load_vocabulary("tiktoken", str(tmp_path / file), special_tokens=True, memo_bytes=0)
    compare(f"mistral_common {file}, special tokens", *(split(*each.encode_block(*block(texts))) for each in (named, slow)))

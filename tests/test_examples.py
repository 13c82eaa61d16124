"""The demo, as a newcomer runs it, and the corpus that it makes."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

from examples import demo_corpus
from tokenreel import tasks

ROOT = pathlib.Path(__file__).parents[1]


def test_the_demo_runs_and_shows_what_it_promises(tmp_path: pathlib.Path) -> None:
    for name in ("examples", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    result = subprocess.run(
        [sys.executable, "examples/demo.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    shown = result.stdout
    for expected in (
        r"corpus\.jsonl: [\d,]+ documents, \d\.\d MB of text",
        r"tokenizer\.model: 8,000 pieces",
        r"train: [\d,]+ examples of 256 tokens in \d+ shards",
        r"demo/dataset: sound\. [\d,]+ records",
        r"train 0 of [\d,]+: 257 of 257 tokens, \d+ documents? begins?",
        r"--- 1: \S+, its tokens [\d,]+ to [\d,]+ \(python_docs, module: \S+\)",
        r"[\d.]+ million tokens/s",
        r"every example exactly once: yes",
        r"of the positions filled",
        r"Try next:",
    ):
        assert re.search(expected, shown), f"{expected}\n{shown}"
    assert (tmp_path / "demo/dataset/report.html").exists()
    commands = re.findall(r"^\$ (.+)$", shown, re.MULTILINE)
    assert len(commands) == 7
    again = subprocess.run(commands[3], shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0 and "sound." in again.stdout, "a printed command can be repeated as it stands"


def test_the_tasks_of_seqio_run_and_show_what_they_promise(tmp_path: pathlib.Path) -> None:
    command = [sys.executable, str(ROOT / "examples/seqio_tasks.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    shown = result.stdout
    for expected in (
        "its answers: ['Mercury', 'the planet Mercury']",
        "the mixture: 9 examples, each once",
        "demo_questions: exact_match 33.33, perplexity 259.00",
        "demo_translation: bleu 75.10, exact_match 66.67, perplexity 259.00",
        "the same from the cache: True",
    ):
        assert expected in shown, f"{expected}\n{shown}"
    converters = {re.sub(r"FeatureConverter$", "", name) for name in vars(tasks) if name.endswith("FeatureConverter")} - {""}
    assert {name for name in converters if not re.search(rf"^{name}[,:]", shown, re.MULTILINE)} == set(), "every converter is shown"
    logged = [json.loads(line) for line in (tmp_path / "demo/tasks/logs/demo_translation-metrics.jsonl").read_text().splitlines()]
    assert len(logged) == 3 and logged[0]["signature"].startswith("BLEU = 75.10")


def test_the_corpus_is_the_same_every_time(tmp_path: pathlib.Path) -> None:
    count, size = demo_corpus.write(tmp_path / "a.jsonl")
    assert demo_corpus.write(tmp_path / "b.jsonl") == (count, size)
    data = (tmp_path / "a.jsonl").read_bytes()
    assert data == (tmp_path / "b.jsonl").read_bytes()
    records = [json.loads(line) for line in data.splitlines()]
    assert len(records) == count > 3000
    assert size == sum(len(record["text"].encode()) for record in records) > 1_000_000
    assert len({record["id"] for record in records}) == count
    assert all(set(record) == {"id", "module", "text"} and len(record["text"]) >= demo_corpus.MIN_CHARACTERS for record in records)


def test_docstrings_are_found_without_running_anything(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "example.py"
    path.write_text(
        '''"""The module itself."""
raise RuntimeError("imported")
class A:
    """The class."""
    def f(self):
        """The method."""
        def inner():
            """A function inside."""
    if True:
        def f(self):
            """The method again."""
async def g():
    """A coroutine."""
    "no docstring"
'''
    )
    assert list(demo_corpus.docstrings(path, "m")) == [
        ("m", "m", "The module itself."),
        ("m.A", "m", "The class."),
        ("m.A.f", "m", "The method."),
        ("m.A.f.inner", "m", "A function inside."),
        ("m.A.f#2", "m", "The method again."),
        ("m.g", "m", "A coroutine."),
    ]
    path.write_text("def broken(:")
    assert list(demo_corpus.docstrings(path, "m")) == []

"""The whole journey in a minute, on the documentation that Python carries: text, tokenizer, dataset, check, training epoch.

`make demo` runs it. Every step is an ordinary command, printed before it runs; everything lands in ./demo.
"""

import os
import pathlib
import shlex
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
PYTHON = sys.executable
COMMAND = pathlib.Path(PYTHON).with_name("tokenreel")

STEPS = [
    ("Python's own documentation as a corpus", ["python", "examples/demo_corpus.py", "demo/corpus.jsonl"]),
    ("A vocabulary of 8,000 pieces", ["tokenreel", "train-tokenizer", "configs/tokenizers/demo.yaml", "--overwrite"]),
    ("Text to training examples, in Apache Beam", ["tokenreel", "build", "configs/demo.yaml", "--overwrite"]),
    ("Is every byte and every number right?", ["tokenreel", "verify", "demo/dataset"]),
    ("What does a model see?", ["tokenreel", "inspect", "demo/dataset", "--count", "2", "--provenance"]),
    ("One epoch, shuffled, as a trainer reads it", ["python", "examples/replay.py", "demo/dataset"]),
    ("The same numbers as a page", ["tokenreel", "report", "demo/dataset"]),
]

NEXT = """
The files:
  demo/corpus.jsonl              the text
  demo/tokenizer/                tokenizer.model: the vocabulary, and tokenizer_report.json
  demo/dataset/                  *.tfrecord-* shards, manifest.json, statistics.json, provenance/*.parquet
  demo/dataset/report.html       open it in a browser

Try next:
  {tokenreel} inspect demo/dataset --split validation --tokens
  {tokenreel} build configs/demo.yaml --output demo/best_fit --set packing.mode=best_fit --set packing.overlap=0
  {tokenreel} build configs/demo.yaml --output demo/mine --input 'texts/*.jsonl' \\
      --set sources.0.id_field=null --set 'sources.0.metadata_fields=[]'
  and in Python:  import tokenreel; dataset = tokenreel.load("demo/dataset"); dataset[0]["tokens"]
"""


def command(words: list[str]) -> list[str]:
    """The command with the interpreter that runs this file, and the `tokenreel` installed beside it."""
    if words[0] == "python":
        return [shown(PYTHON), *words[1:]]
    return [shown(str(COMMAND)), *words[1:]] if COMMAND.exists() else [shown(PYTHON), "-m", "pipelines.cli", *words[1:]]


def shown(path: str) -> str:
    """A path below the repository is written as one would type it there."""
    return os.path.relpath(path, ROOT) if path.startswith(f"{ROOT}{os.sep}") else path


def main() -> int:
    """Runs the steps; stops at the first that fails."""
    bold = (lambda text: f"\x1b[1m{text}\x1b[0m") if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else str
    (ROOT / "demo").mkdir(exist_ok=True)
    started = time.monotonic()
    for number, (title, words) in enumerate(STEPS, 1):
        line = command(words)
        print(f"\n{bold(f'{number}. {title}')}\n$ {shlex.join(line)}", flush=True)
        code = subprocess.run(line, cwd=ROOT, check=False).returncode
        if code:
            print(f"\nThe command above failed with exit code {code}; the demo stops here.", file=sys.stderr)
            return code
    print(f"\n{bold(f'Done in {time.monotonic() - started:.0f} seconds.')}")
    print(NEXT.format(tokenreel=shlex.join(command(["tokenreel"]))))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Writes real text that every machine has: the documentation inside Python itself, as JSON lines.

    python examples/demo_corpus.py corpus.jsonl

A document is one topic of `help()` (the language reference) or the docstring of one module, class or function of the standard library. They
are found by parsing, so nothing is imported or run. Each line holds `text`, `id` (unique: the thing's dotted name) and `module`. The same
Python writes the same bytes.
"""

import argparse
import ast
import inspect
import json
import pathlib
import sysconfig
from collections.abc import Iterator

SKIPPED = {"__pycache__", "dist-packages", "idlelib", "lib2to3", "site-packages", "test", "tests"}
MIN_CHARACTERS = 20  # "TODO" and "See above" teach nothing


def topics() -> Iterator[tuple[str, str, str]]:
    """Yields (id, module, text) of the language reference behind `help("...")`."""
    from pydoc_data.topics import topics as pages

    for name in sorted(pages):
        yield f"help.{name}", "pydoc_data.topics", pages[name]


def docstrings(path: pathlib.Path, module: str) -> Iterator[tuple[str, str, str]]:
    """Yields (id, module, text) of each docstring in a source file, from top to bottom."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # a template or a deliberately broken file
        return
    seen: dict[str, int] = {}
    todo: list[tuple[str, ast.AST]] = [(module, tree)]
    while todo:
        name, node = todo.pop()
        inner = f"{name}." if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) else None
        if inner and (text := ast.get_docstring(node, clean=False)):  # type: ignore[arg-type]
            seen[name] = seen.get(name, 0) + 1  # a function may be defined once for each platform
            yield name if seen[name] == 1 else f"{name}#{seen[name]}", module, inspect.cleandoc(text).strip()
        for child in reversed(list(ast.iter_child_nodes(node))):
            scope = name if inner is None else inner.removesuffix(".")
            todo.append((f"{scope}.{child.name}", child) if hasattr(child, "name") and hasattr(child, "body") else (scope, child))


def documents(stdlib: pathlib.Path) -> Iterator[tuple[str, str, str]]:
    """Yields (id, module, text) of everything, in an order that depends on names alone."""
    yield from topics()
    for path in sorted(stdlib.rglob("*.py"), key=lambda p: p.relative_to(stdlib).parts):
        parts = path.relative_to(stdlib).with_suffix("").parts
        if not SKIPPED & set(parts):
            yield from docstrings(path, ".".join(parts).removesuffix(".__init__"))


def write(output: pathlib.Path) -> tuple[int, int]:
    """Writes the corpus and returns (documents, bytes of text)."""
    count = size = 0
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("w", encoding="utf-8", newline="\n") as file:
        for name, module, text in documents(pathlib.Path(sysconfig.get_path("stdlib"))):
            if len(text) >= MIN_CHARACTERS:
                print(json.dumps({"id": name, "module": module, "text": text}, ensure_ascii=False), file=file)
                count += 1
                size += len(text.encode())
    return count, size


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=pathlib.Path, help="the .jsonl file to write")
    output = parser.parse_args().output
    count, size = write(output)
    print(f"{output}: {count:,} documents, {size / 1e6:.1f} MB of text")


if __name__ == "__main__":
    main()

"""Who imports whom: the table that holds, the imports that the code really has, and the circles in them.

    python -m tests.layering

prints for each room of `tokenreel` what it imports and what it may import, then every circle of files. All imports count: those at the
top of a file, those inside functions, and those for annotations alone, since a reader has to follow each of them.
`tests/test_layering.py` holds the code to what stands here.
"""

from __future__ import annotations

import ast
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence

ROOT = pathlib.Path(__file__).parents[1]

GROUND = "ground"
"""The modules that lie in `tokenreel/` itself, on which every room stands."""

MAY_IMPORT: Mapping[str, frozenset[str]] = {
    room: frozenset(others.split())
    for room, others in {
        GROUND: "",
        "storage": "ground",
        "format": "ground storage",
        "layouts": "ground format",
        "objectives": "ground format layouts",
        "config": "ground storage format layouts",
        "sources": "ground storage format config",
        "curation": "ground storage config sources",
        "vocabularies": "ground storage format",
        "staging": "ground storage format config sources curation vocabularies",
        "planning": "ground storage format layouts objectives config sources curation vocabularies staging",
        "assembly": "ground storage format layouts objectives config sources curation vocabularies staging planning",
        "tokenizer_training": "ground storage format config sources curation vocabularies",
        "caching": "ground storage format config sources tasks",
        "converting": "ground storage format config vocabularies assembly caching tasks",
        "loaders": "ground storage format layouts objectives vocabularies",
        "model_features": "ground storage format",
        "extracting": "ground storage format config assembly loaders model_features",
        "inspection": "ground storage format vocabularies",  # it shares no code with what it checks, beyond the contract
        "tasks": "ground storage format layouts objectives vocabularies loaders",
        "shelf": "ground storage",
        "commands": "ground storage format loaders inspection tasks shelf",
    }.items()
}
"""What the files of a room may import of the other rooms. Rooms to come get a row of their own."""

TRAINER_SIDE = frozenset(
    {
        GROUND,
        *("storage", "format", "layouts", "objectives", "vocabularies"),
        *("loaders", "inspection", "tasks", "shelf", "model_features", "commands"),
    },
)
"""The rooms in the trainer's wheel; the others belong to the job."""


def room_of(module: str) -> str:
    """The room of a module of `tokenreel`, by its dotted name."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (ROOT / "tokenreel" / parts[1]).is_dir() else GROUND


def module_name(path: pathlib.Path) -> str:
    """The dotted name of a file of the repository."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def files(package: str) -> list[pathlib.Path]:
    """The Python files of a top-level folder, without what builds leave there."""
    return sorted(path for path in (ROOT / package).rglob("*.py") if "build" not in path.relative_to(ROOT).parts)


def imported_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yields (dotted name, line) of everything that a file imports, wherever the statement stands; `from a import b` is `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def graph(paths: Sequence[pathlib.Path]) -> dict[str, dict[str, int]]:
    """The imports among some files: {module: {module that it imports: line}}."""
    known = {module_name(path) for path in paths}
    edges: dict[str, dict[str, int]] = {}
    for path in paths:
        own = edges.setdefault(module_name(path), {})
        for name, line in imported_names(ast.parse(path.read_text(encoding="utf-8"), str(path))):
            target = name if name in known else name.rpartition(".")[0]
            if target in known and target != module_name(path):
                own.setdefault(target, line)
    return edges


def circles(edges: Mapping[str, Mapping[str, int]]) -> list[list[str]]:
    """The groups of modules that reach each other by imports (strongly connected components, Tarjan 1972), each sorted."""
    found: list[list[str]] = []
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        stack.append(module)
        for other in edges[module]:
            if other not in number:
                visit(other)
            if other in stack:
                lowest[module] = min(lowest[module], lowest[other])
        if lowest[module] == number[module]:
            group = [stack.pop()]
            while group[-1] != module:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for module in sorted(edges):
        if module not in number:
            visit(module)
    return found


def everything() -> dict[str, dict[str, int]]:
    """The imports among all files of `tokenreel`, `transforms` and `pipelines`."""
    return graph([path for package in ("tokenreel", "transforms", "pipelines") for path in files(package)])


def rooms(edges: Mapping[str, Mapping[str, int]]) -> dict[str, set[str]]:
    """What each room really imports of the others."""
    table: dict[str, set[str]] = {room: set() for room in MAY_IMPORT}
    for module, imported in edges.items():
        if module != "tokenreel":  # the face of the whole, on which nothing stands
            table.setdefault(room_of(module), set()).update(room_of(other) for other in imported)
    return {room: others - {room} for room, others in table.items()}


def forbidden(edges: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The imports that `MAY_IMPORT` does not allow, a line each."""
    lines = []
    for module, imported in edges.items():
        room = room_of(module)
        for other, line in imported.items():
            if module != "tokenreel" and room_of(other) != room and room_of(other) not in MAY_IMPORT.get(room, frozenset()):
                lines.append(f"{module}, line {line}: {room} may not import {room_of(other)} ({other})")
    return lines


def main() -> int:
    """Prints the table, what is not allowed, and the circles; returns 1 if there is any of them."""
    edges = graph(files("tokenreel"))
    for room, others in rooms(edges).items():
        unused = MAY_IMPORT.get(room, frozenset()) - others
        print(f"{room:20} imports {' '.join(sorted(others)) or '-'}" + (f"   (may import {' '.join(sorted(unused))})" if unused else ""))
    wrong, rings = forbidden(edges), circles(everything())
    for line in wrong:
        print(f"not allowed: {line}")
    for ring in rings:
        print(f"circle: {' '.join(ring)}")
    print(f"{len(wrong)} imports that are not allowed, {len(rings)} circles")
    return 1 if wrong or rings else 0


if __name__ == "__main__":
    sys.exit(main())

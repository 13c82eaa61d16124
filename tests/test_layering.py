"""Which package may import what: the table here is the rule, the tests hold every file to it."""

import ast
import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests import layering
from tests import verification_datasets as datasets

ROOT = layering.ROOT

# What a package imports when it is itself imported, beside the standard library and itself. A trainer imports `tokenreel`, so that stays
# NumPy alone; what it needs beyond is imported inside the function that needs it.
MODULE_LEVEL = {
    "tokenreel": {"numpy"},
    "transforms": {"apache_beam", "numpy", "psutil", "pyarrow", "tokenreel"},
    "pipelines": {"apache_beam", "numpy", "psutil", "pyarrow", "tokenreel", "transforms"},
    "dags": {"airflow", "dataset_settings"},  # the file beside it, since a folder of DAGs is no package
    "dataflow_templates": set(),
}
# What single modules import beyond that; others import them inside a function.
KERNELS = "tokenreel/vocabularies/unit_memo/kernels"
MODULES = {path.relative_to(ROOT).as_posix(): {"numba"} for path in layering.files(KERNELS) if path.name != "__init__.py"}
# What a package never imports, not even inside a function.
NOWHERE = {
    "tokenreel": {"apache_beam", "transforms", "pipelines", "tests", "examples", "benchmarks"},
    "transforms": {"pipelines", "tests", "examples", "benchmarks"},
    "pipelines": {"tests", "examples", "benchmarks"},
}

HEAVY = {
    *(
        "apache_beam",
        "tensorflow",
        "jax",
        "torch",
        "keras",
        "sentencepiece",
        "numba",
        "pyarrow",
        "yaml",
        "google.cloud.storage",
        "tokenizers",
    ),
}


def imports(tree: ast.AST, *, inside_functions: bool) -> Iterator[tuple[str, int]]:
    """Yields (top-level package, line) of the imports that run; those under `if TYPE_CHECKING:` do not."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            yield str(node.module).split(".")[0], node.lineno
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for other in node.orelse:
                yield from imports(other, inside_functions=inside_functions)
        elif inside_functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from imports(node, inside_functions=inside_functions)


def test_rooms_import_what_the_table_allows():
    assert layering.forbidden(layering.graph(layering.files("tokenreel"))) == []


def test_no_file_imports_itself_by_way_of_others():
    assert layering.circles(layering.everything()) == []


def test_the_table_has_every_room_and_no_circle():
    folders = {path.parent.name for path in (ROOT / "tokenreel").glob("*/__init__.py")}
    assert folders | {layering.GROUND} == set(layering.MAY_IMPORT)
    assert layering.circles({room: dict.fromkeys(others, 0) for room, others in layering.MAY_IMPORT.items()}) == []


@pytest.mark.parametrize("package", ["tokenreel", "transforms", "pipelines"])
def test_nothing_is_long(package):
    """No module over 500 lines, no function over 60, but for kernels, which calls would slow down."""
    found = []
    for path in layering.files(package):
        text, name = path.read_text(encoding="utf-8"), layering.module_name(path)
        if text.count("\n") > 500:
            found.append(f"{name}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and ".kernels." not in name
            if is_function and node.end_lineno - node.lineno >= 60:
                found.append(f"{name}.{node.name}: {node.end_lineno - node.lineno + 1} lines")
    assert found == []


@pytest.mark.parametrize("room", sorted(set(layering.MAY_IMPORT) - {layering.GROUND}))
def test_rooms_show_a_face(room):
    """A room says what comes in, what goes out and what it never does, and shows a dozen names at most, none that is also a module's."""
    tree = ast.parse((ROOT / "tokenreel" / room / "__init__.py").read_text(encoding="utf-8"))
    description = (ast.get_docstring(tree) or "").split("\n\n", 1)[1]
    assert "come" in description and "go" in description and "never" in description
    shown = [alias for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert 1 <= len(shown) <= (12 if room != "tasks" else 150)  # `tasks` has the names of another library's face
    for alias in shown:
        assert alias.asname == alias.name
        is_module = (ROOT / "tokenreel" / room / f"{alias.name}.py").exists()
        imported_as_module = any(isinstance(n, ast.ImportFrom) and n.module == f"tokenreel.{room}" and alias in n.names for n in tree.body)
        assert not is_module or imported_as_module or (room, alias.name) in {("commands", "main"), ("tasks", "map_over_dataset")}


def test_the_trainers_rooms_need_no_other():
    for room in layering.TRAINER_SIDE:
        assert layering.MAY_IMPORT[room] <= layering.TRAINER_SIDE, room


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        (
            {"a": "import p.b", "b": "def f():\n    from p import c", "c": "import p.d", "d": "from p.a import x"},
            [["p.a", "p.b", "p.c", "p.d"]],
        ),
        ({"a": "import typing\nif typing.TYPE_CHECKING:\n    from p.b import B", "b": "import p.a"}, [["p.a", "p.b"]]),
        ({"a": "from p import b, c", "b": "import p.c", "c": "import d"}, []),
    ],
)
def test_circles_are_seen(tmp_path, monkeypatch, sources, found):
    monkeypatch.setattr(layering, "ROOT", tmp_path)
    (tmp_path / "p").mkdir()
    for name, text in sources.items():
        (tmp_path / f"p/{name}.py").write_text(text)
    assert layering.circles(layering.graph(layering.files("p"))) == found


def test_a_wrong_import_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(layering, "ROOT", tmp_path)
    for room in ("storage", "loaders"):
        (tmp_path / "tokenreel" / room).mkdir(parents=True)
    (tmp_path / "tokenreel/loaders/batches.py").write_text("")
    (tmp_path / "tokenreel/storage/files.py").write_text("def f():\n    from tokenreel.loaders import batches")
    wrong = "tokenreel.storage.files, line 2: storage may not import loaders (tokenreel.loaders.batches)"
    assert layering.forbidden(layering.graph(layering.files("tokenreel"))) == [wrong]


def violations(path: pathlib.Path) -> list[str]:
    name = path.relative_to(ROOT).as_posix()
    package = name.split("/")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"), name)
    allowed = MODULE_LEVEL[package] | MODULES.get(name, set()) | {package} | sys.stdlib_module_names
    forbidden = NOWHERE.get(package, set())
    found = [f"{name}:{line} imports {top} at module level" for top, line in imports(tree, inside_functions=False) if top not in allowed]
    found += [f"{name}:{line} imports {top}" for top, line in imports(tree, inside_functions=True) if top in forbidden]
    return found


@pytest.mark.parametrize("package", MODULE_LEVEL)
def test_imports_point_downwards(package):
    assert [line for path in layering.files(package) for line in violations(path)] == []


def test_every_package_has_a_rule():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "examples", "benchmarks"}
    assert packages <= set(MODULE_LEVEL), "a new package: say in MODULE_LEVEL what it may import"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import jax\n", ["imports jax at module level"]),
        ("try:\n    import jax.numpy as jnp\nexcept ImportError:\n    pass\n", ["imports jax at module level"]),
        ("class A:\n    from torch import nn\n", ["imports torch at module level"]),
        ("def f():\n    import jax\n", []),
        ("import typing\nif typing.TYPE_CHECKING:\n    import jax\n", []),
        ("def f():\n    from pipelines import build\n", ["imports pipelines"]),
    ],
)
def test_the_check_sees(tmp_path, monkeypatch, source, expected):
    path = tmp_path / "tokenreel/example.py"
    path.parent.mkdir()
    path.write_text(source)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert [line.split(" ", 1)[1] for line in violations(path)] == expected


@pytest.mark.parametrize(
    "path", [*layering.files("transforms"), *layering.files("pipelines")], ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_beam_sees_annotations(path):
    """With `from __future__ import annotations` Beam gets strings where it looks for types, and silently checks nothing."""
    assert "annotations" not in [
        alias.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        for alias in node.names
    ]


def test_the_generated_protobuf_module_of_sentencepiece_is_never_imported():
    """`sentencepiece_model_pb2` of 0.2.3 is generated for protobuf 7 and raises beside Beam and TensorFlow, which need 6."""
    for package in (*MODULE_LEVEL, "tests", "examples", "benchmarks"):
        for path in layering.files(package):
            names = [name for name, _ in layering.imported_names(ast.parse(path.read_text(encoding="utf-8")))]
            assert not any("sentencepiece_model_pb2" in name.split(".") for name in names), path


def loaded_by(code: str) -> set[str]:
    """The heavy modules that a fresh interpreter holds after running some code."""
    program = f"{code}\nimport json, sys; print(json.dumps([n for n in {sorted(HEAVY)!r} if n in sys.modules]))"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout.splitlines()[-1]))


@pytest.mark.everywhere
def test_importing_every_module_loads_no_framework():
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in layering.files("tokenreel")
        if path.name != "__main__.py" and path.relative_to(ROOT).as_posix() not in MODULES
    ]
    assert "tokenreel.format.schema" in names
    assert loaded_by(f"import importlib\nfor name in {names!r}: importlib.import_module(name)") == set()


@pytest.mark.everywhere
def test_reading_a_dataset_loads_no_framework(tmp_path):
    """What a TPU host does: open, look, and take batches. NumPy and the CRC are all it needs."""
    datasets.make(tmp_path / "dataset")
    code = (
        "import tokenreel\n"
        f"dataset = tokenreel.load({str(tmp_path / 'dataset')!r}, crc='first')\n"
        "assert dataset[3]['tokens'].shape == (32,)\n"
        "batches = list(dataset.batches(8, seed=1, epochs=1))\n"
        "assert len(batches) == len(dataset) // 8 == 19, len(batches)"
    )
    assert loaded_by(code) == set()


def test_the_heavy_list_is_seen():
    assert loaded_by("import yaml") == {"yaml"}

"""The parameters of the DAGs, which need no Airflow to be read."""

from __future__ import annotations

import importlib.util
import pathlib
import re
import sys
from types import ModuleType
from typing import Any

import pytest

DAGS = pathlib.Path(__file__).parents[2] / "dags"
PLAN: dict[str, Any] = {"sources": {"a": {"bytes": 600}, "b": {"bytes": 400}}, "dollars": {"vcpu": 8.0, "disk": 4.0}, "refused": []}


@pytest.fixture(scope="module")
def settings() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dataset_settings", DAGS / "dataset_settings.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["dataset_settings"] = module  # where dataclasses look for the types of fields
    spec.loader.exec_module(module)
    return module


def test_the_example_is_read(settings: ModuleType) -> None:
    books, web, caches = settings.read(str(DAGS / "datasets.toml"))
    assert (books.dag_id, books.mode, books.latest, books.keep) == ("books", "local", "/data/books/latest.json", 7)
    assert (web.mode, web.environment["maxWorkers"], web.latest) == ("dataflow", 50, "gs://bucket/web/latest.json")
    assert (caches.kind, caches.tasks) == ("cache-tasks", ("books_.*",))
    defaults = settings.parameters(books)
    assert defaults["keep"] == (7, {"type": "integer", "minimum": 0})
    assert defaults["overrides"] == ([], {"type": "array", "items": {"type": "string"}})
    assert defaults["verify"][1]["enum"] == ["full", "quick"]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('config = "c"', "root is missing"),
        ('root = "r"', "config is missing"),
        ('root = "r"\nconfig = "c"\nkeep = "many"', "keep must be int, got 'many'"),
        ('root = "r"\nconfig = "c"\nkeep = 0', "keep must be at least 1"),
        ('root = "r"\nconfig = "c"\ncatchup = 1', "catchup must be bool, got 1"),
        ('root = "r"\nconfig = "c"\noverrides = "a=1"', "overrides must be"),
        ('root = "r"\nconfig = "c"\nshedule = "@daily"', "unknown are shedule"),
        ('root = "r"\nconfig = "c"\nmode = "flink"', "mode must be local or dataflow"),
        ('root = "/r"\nconfig = "c"\nmode = "dataflow"\nproject = "p"\nregion = "r"\ntemplate = "t"', "root must lie in a bucket"),
        (
            'root = "gs://r"\nconfig = "c"\nmode = "dataflow"\nproject = "p"\nregion = "r"\ntemplate = "t"',
            "verify_template is missing, which a full check on Dataflow needs",
        ),
        ('root = "r"\nkind = "cache-tasks"', "tasks is missing"),
    ],
)
def test_mistakes_are_named(settings: ModuleType, tmp_path: pathlib.Path, table: str, says: str) -> None:
    (tmp_path / "datasets.toml").write_text(f"[books]\n{table}\n")
    with pytest.raises(ValueError, match=says) as error:
        settings.read(str(tmp_path / "datasets.toml"))
    assert "books" in str(error.value)


def test_names_of_jobs(settings: ModuleType) -> None:
    long = settings.job_name("a" * 80, "gs://b/2026-11-29T0000-3fa9c01b77d2")
    assert len(long) <= 63 and long == settings.job_name("a" * 80, "gs://b/2026-11-29T0000-3fa9c01b77d2/")
    assert long != settings.job_name("a" * 80, "gs://b/2026-11-30T0000-3fa9c01b77d2")
    assert settings.job_name("2nd_Books", "gs://b/x") == "job-2nd-books-x"


@pytest.mark.parametrize(
    ("changes", "limits", "says"),
    [
        ({}, (1, 2000, 20.0), None),
        ({"refused": ["too many reads"]}, (1, 2000, 20.0), "would be refused: too many reads"),
        ({}, (1001, 2000, 20.0), "hold 1,000 bytes, expected 1,001 to 2,000"),
        ({}, (1, 999, 20.0), "hold 1,000 bytes, expected 1 to 999"),
        ({}, (1, 2000, 11.0), r"cost 12\.00 dollars, more than 11\.00"),
    ],
)
def test_what_is_refused(settings: ModuleType, changes: dict[str, Any], limits: tuple[int, int, float], says: str | None) -> None:
    found = settings.refusal({**PLAN, **changes}, *limits, mode="dataflow")
    assert found is None if says is None else re.search(says, found)
    assert settings.refusal(PLAN, 1, 2000, 0.0, mode="local") is None, "what Dataflow would cost matters there alone"


def test_what_is_no_plan(settings: ModuleType) -> None:
    for text in ("", "[]", "{}"):
        with pytest.raises(ValueError):
            settings.parse_plan(text)

"""Finding Prism's program, or saying in a line how to install it."""

from __future__ import annotations

import logging
import os
import pathlib

import apache_beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions, PrismRunnerOptions

from pipelines import cli, local
from tokenreel.errors import ConfigError


@pytest.fixture(autouse=True)
def _nothing_installed(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No program is found but those that a test puts somewhere."""
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("GOBIN", "GOPATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.executable", str(tmp_path / "environment/bin/python"))


def install(folder: pathlib.Path) -> str:
    folder.mkdir(parents=True)
    (folder / "prism").write_text("#!/bin/sh\n")
    (folder / "prism").chmod(0o755)
    return str(folder / "prism")


def options(*arguments: str) -> PipelineOptions:
    return local.options(["--runner=PrismRunner", *arguments], releases_gil=True)


@pytest.mark.parametrize("folder", ["path", "environment/bin", "home/go/bin", "gobin", "gopath/bin"])
def test_the_program_is_found_where_it_is_installed(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    monkeypatch.setenv("GOBIN", str(tmp_path / "gobin"))
    monkeypatch.setenv("GOPATH", str(tmp_path / "gopath"))
    expected = install(tmp_path / folder)
    parsed = options()
    assert parsed.view_as(PrismRunnerOptions).prism_location == expected
    assert parsed.view_as(PortableOptions).environment_type == "LOOPBACK"


def test_what_the_user_names_is_taken(tmp_path: pathlib.Path) -> None:
    named = install(tmp_path / "elsewhere")
    parsed = options(f"--prism_location={named}", "--environment_type=EXTERNAL")
    assert parsed.view_as(PrismRunnerOptions).prism_location == named
    assert parsed.view_as(PortableOptions).environment_type == "EXTERNAL"
    assert options("--job_endpoint=localhost:1").view_as(PrismRunnerOptions).prism_location is None


def test_without_the_program_one_line_says_how_to_install_it(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.jsonl").write_text('{"text": "some text"}\n')
    (tmp_path / "c.yaml").write_text(
        "output: dataset\nsources: [{files: [text.jsonl]}]\nvocabulary: {kind: bytes}\npacking: {seq_len: 4}\n"
    )
    assert cli.main(["build", str(tmp_path / "c.yaml"), "--runner=PrismRunner"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"go install github.com/apache/beam/sdks/v2/go/cmd/prism@v{apache_beam.__version__}" in line
    assert not (tmp_path / "dataset").exists()
    with pytest.raises(ConfigError, match="--prism_location=/nowhere/prism: no such file"):
        options("--prism_location=/nowhere/prism")


def test_what_the_engine_says_is_for_debugging(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    handler = logging.StreamHandler()
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    local.quiet_logging()
    for name in ("apache_beam.utils.subprocess_server", "PrismRunner", "SdkWorker@1"):
        record = logging.LogRecord(name, logging.WARNING, "", 0, "said by the engine", (), None)
        assert not handler.filter(record)
        monkeypatch.setenv("TOKENREEL_DEBUG", "1")
        assert handler.filter(record)
        monkeypatch.delenv("TOKENREEL_DEBUG")
    assert handler.filter(logging.LogRecord("apache_beam", logging.WARNING, "", 0, "a warning", (), None))
    assert os.environ.get("TOKENREEL_DEBUG") is None

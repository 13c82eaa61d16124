"""Workers whose code is not the launcher's stop when they unpack their first step."""

from __future__ import annotations

import pathlib
import pickle

import pytest

from pipelines import cli
from tokenreel import launched
from tokenreel.caching.cache_job import CacheJob
from tokenreel.config.workspace import Workspace
from tokenreel.errors import BuildError
from transforms.list_blocks import ListBlocks
from transforms.train_tokenizer import TrainSentencePiece, WriteTokenizer

WORK = Workspace("out", "stage", "build")


def test_the_same_code_goes_on() -> None:
    assert pickle.loads(pickle.dumps(WORK)) == WORK
    assert len(launched.source_digest()) == 16


@pytest.mark.parametrize("what", ["version", "source"])
@pytest.mark.parametrize(
    "step",
    [
        WORK,
        CacheJob(caches=()),
        ListBlocks(None, {}),  # type: ignore[arg-type]
        TrainSentencePiece(None, WORK),  # type: ignore[arg-type]
        WriteTokenizer(None, WORK, {}),  # type: ignore[arg-type]
    ],
    ids=lambda step: type(step).__name__,
)
def test_other_code_stops(step: object, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pickle.dumps(step)
    if what == "version":
        monkeypatch.setattr(launched, "__version__", "9.9")
    else:
        monkeypatch.setattr(launched, "source_digest", lambda: "other code")
    with pytest.raises(
        BuildError, match=r"this worker runs tokenreel .* the job was launched by .*the same image \(--sdk_container_image\)"
    ):
        pickle.loads(data)


def test_a_build_whose_workers_run_other_code_writes_nothing_and_says_why(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.jsonl").write_text('{"text": "some"}\n')
    (tmp_path / "config.yaml").write_text(
        "{output: made, sources: [{files: [text.jsonl]}], vocabulary: {kind: bytes}, packing: {seq_len: 4}, shards: {examples: 9}}"
    )
    monkeypatch.setattr(launched.Launched, "__reduce__", lambda self: (launched._arrive, ("0.0.1", "older")))
    assert cli.main(["build", str(tmp_path / "config.yaml"), "--direct_num_workers=1"]) == 1
    shown = capsys.readouterr().err
    assert "the job was launched by tokenreel 0.0.1 (source older)" in shown and "Traceback" not in shown
    written = [path for path in (tmp_path / "made").rglob("*") if path.is_file()]
    assert not [path for path in written if path.suffix == ".stage" or path.name == "manifest.json" or "tfrecord" in path.name]

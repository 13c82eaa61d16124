from __future__ import annotations

import json
import pathlib

import pyarrow as pa
import pytest

from pipelines import cli
from tests.tokenreel.sources.readers.test_arrow import END_MARK, write
from tokenreel.format import manifest


def test_streams_without_an_end_mark_are_whole_unless_more_rows_are_counted(
    write_config, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    for number in range(2):
        write(folder / f"data-{number}.arrow", pa.table({"text": [f"It reads text {number} {i}." for i in range(100)]}), 20)
    config = write_config(sources=[{"format": "arrow", "files": [str(folder)]}])
    assert cli.main(["build", config]) == 0
    assert "end mark" not in capsys.readouterr().err
    data = (folder / "data-1.arrow").read_bytes()
    (folder / "data-1.arrow").write_bytes(data[: data.rindex(END_MARK)])
    (folder / "dataset_info.json").write_text(json.dumps({"splits": {"train": {"num_examples": 200}}}))
    assert cli.main(["build", config, "--overwrite"]) == 0
    assert "1 file of source 'text' ends without the mark of an Arrow stream's end, such as" in capsys.readouterr().err
    assert manifest.read(str(tmp_path / "dataset")).totals["documents_read"] == 200
    last = data[: data.rindex(END_MARK)].rindex(b"\xff\xff\xff\xff")
    (folder / "data-1.arrow").write_bytes(data[:last])
    assert cli.main(["build", config, "--overwrite"]) == 2
    error = capsys.readouterr().err
    assert "2 files of the split 'train' hold 180 rows, dataset_info.json counts 200" in error
    (folder / "dataset_info.json").unlink()
    assert cli.main(["build", config, "--overwrite"]) == 0
    assert manifest.read(str(tmp_path / "dataset")).totals["documents_read"] == 180

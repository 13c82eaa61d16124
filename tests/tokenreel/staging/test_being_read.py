import os
import pathlib
import subprocess
import sys

from tokenreel.staging import being_read

DIE = "import sys; from tokenreel.staging import being_read; print(being_read.begin(sys.argv[1], 'b', ['x.arrow', 'x.arrow']))"


def test_a_process_that_ends_in_the_midst_leaves_a_mark(tmp_path: pathlib.Path) -> None:
    directory = str(tmp_path / "marks")
    assert being_read.left(directory) == []
    for deaths in range(3):
        run = subprocess.run([sys.executable, "-c", DIE, directory], capture_output=True, text=True, check=True)
        assert int(run.stdout) == deaths
        (mark,) = being_read.left(directory)
        assert mark == being_read.Mark(("x.arrow",), deaths + 1)
    assert str(mark) == "x.arrow, as 2 others did: leave the file out of sources.files, or set execution.dead_letter_crashes: true"
    assert being_read.begin(directory, "b", ["x.arrow"]) == 3
    assert being_read.left(directory) == [], "this process is alive"
    being_read.end(directory, "b")
    assert being_read.begin(directory, "b", ["x.arrow"]) == 0
    being_read.clear(directory)
    assert os.listdir(directory) == []


def test_a_mark_that_was_cut_is_none(tmp_path: pathlib.Path) -> None:
    (tmp_path / "b.reading").write_text('{"paths": ["x')
    assert being_read.left(str(tmp_path)) == []
    assert being_read.begin(str(tmp_path), "b", ["x"]) == 0
    assert being_read.begin("gs://bucket/marks", "b", ["x"]) == 0
    assert being_read.left("gs://bucket/marks") == []

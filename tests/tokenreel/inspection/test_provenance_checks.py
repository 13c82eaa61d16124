import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import verification_datasets as datasets
from tests.tokenreel.inspection.conftest import TABLE
from tokenreel.inspection.verification import verify


def edit_table(dataset, change):
    table = pq.read_table(dataset / TABLE).to_pydict()
    change(table)
    pq.write_table(pa.table(table), dataset / TABLE)
    datasets.sign(dataset)


def later_piece(column):
    """Moves the first piece, not at the beginning of the shard, that goes on with a document."""

    def change(table):
        row = next(row for row, start in enumerate(table["doc_token_start"]) if row and start)
        table[column][row] += 1

    return change


def changed(column, row, by):
    def change(table):
        table[column][row] += by

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed("example", 0, -10), "row 0 names example 0, which train.tfrecord-00001-of-00016 does not hold"),
        (changed("example", 0, 5), "not sorted"),
        (changed("segment", 0, 1), "not sorted by example and segment, or a segment is missing"),
        (changed("length", 0, -1000), "row 0 describes"),
        (changed("length", 0, 1), "the segments of example 10 hold 34 tokens, the record 33"),
        (changed("doc_token_start", 0, -10_000), "row 0 describes"),
        (lambda table: [column.pop() for column in table.values()], "the segments of example 19 hold"),
        (lambda table: table["doc_id"].__setitem__(0, "x"), "row 0 goes on with x at its token"),
        (lambda table: table["doc_id"].__setitem__(-1, "x"), "goes on with x at its token"),
        (later_piece("doc_token_start"), "the row before ends elsewhere"),
    ],
)
def test_provenance_that_does_not_fit_is_named(dataset, change, message):
    edit_table(dataset, change)
    found = verify(str(dataset))
    assert any(line.startswith(TABLE) and message in line for line in found), found


def test_a_table_that_is_none_is_named(dataset):
    (dataset / TABLE).write_bytes(b"PAR1 no table PAR1")
    datasets.sign(dataset)
    assert [line.split(" (")[0] for line in verify(str(dataset))] == [f"{TABLE}: no readable table"]

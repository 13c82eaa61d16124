import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import verification_datasets as datasets
from tokenreel.assembly import provenance
from tokenreel.errors import ManifestError
from tokenreel.format import manifest, naming
from tokenreel.format import provenance as provenance_table
from tokenreel.inspection import opening
from tokenreel.inspection.verification import verify

TABLE = naming.provenance("train", 0, 1)


@pytest.fixture
def directory(tmp_path):
    datasets.make(tmp_path, documents={"train": 20}, examples_per_shard=1000)
    return tmp_path


def test_rows_and_columns_are_chosen(directory):
    every = provenance_table.read(str(directory), TABLE)
    assert every.column_names == provenance_table.schema([], repeats=False).names
    some = provenance_table.read(str(directory), TABLE, ["example", "doc_id"], column="example", values=[1, 3])
    assert some.column_names == ["example", "doc_id"]
    assert some.to_pylist() == [
        {"example": row["example"], "doc_id": row["doc_id"]} for row in every.to_pylist() if row["example"] in (1, 3)
    ]
    assert provenance_table.read(str(directory), TABLE, column="example", values=[-1]).num_rows == 0


def test_what_is_written_is_read(tmp_path):
    schema = provenance_table.schema(["lang", "a.b"], repeats=True)
    values = {
        "example": 5,
        "segment": 0,
        "source": "web",
        "doc_id": "d",
        "doc_token_start": 1,
        "length": 2,
        "document": 7,
        "doc_tokens": 9,
        "copy": 0,
    }
    row = values | {"meta.lang": "en", "meta.a.b": None}
    with (tmp_path / "t").open("wb") as file:
        provenance.write(file, pa.Table.from_pylist([row], schema=schema))
    (found,) = provenance_table.read(str(tmp_path), "t").to_pylist()
    assert provenance_table.metadata(found) == {"lang": "en", "a.b": None}
    assert found == values


def test_what_is_missing_or_damaged_is_named(directory):
    with pytest.raises(FileNotFoundError, match="none"):
        provenance_table.read(str(directory), "none")
    whole = provenance_table.read(str(directory), TABLE)
    pq.write_table(whole.drop_columns(["length"]), directory / TABLE)
    with pytest.raises(ManifestError, match=r"not a Parquet file with these columns \(No match for FieldRef.Name\(length\)"):
        provenance_table.read(str(directory), TABLE, ["example", "length"])
    datasets.sign(directory)
    assert [line.split(" (")[0] for line in verify(str(directory))] == [f"{TABLE}: no readable table"]
    (directory / TABLE).write_bytes(b"PAR1 and nothing else")
    with pytest.raises(ManifestError, match="not a Parquet file"):
        provenance_table.read(str(directory), TABLE)
    with pytest.raises(ManifestError, match="not a Parquet file"):
        opening.read_origins(str(directory), manifest.read(str(directory)), "train", 0)

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


def read(directory, name, *columns, **rows):
    return provenance_table.read(str(directory), manifest.read(str(directory)), name, *columns, **rows)


def test_rows_and_columns_are_chosen(directory):
    every = read(directory, TABLE)
    assert every.column_names == provenance_table.schema([], repeats=False).names
    some = read(directory, TABLE, ["example", "doc_id"], column="example", values=[1, 3])
    assert some.column_names == ["example", "doc_id"]
    assert some.to_pylist() == [
        {"example": row["example"], "doc_id": row["doc_id"]} for row in every.to_pylist() if row["example"] in (1, 3)
    ]
    assert read(directory, TABLE, column="example", values=[-1]).num_rows == 0


def test_what_is_written_is_read(directory):
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
    with (directory / TABLE).open("wb") as file, provenance.make_writer(file, schema) as writer:
        writer.write_table(pa.Table.from_pylist([row], schema=schema))
    datasets.sign(directory)
    (found,) = read(directory, TABLE).to_pylist()
    assert provenance_table.metadata(found) == {"lang": "en", "a.b": None}
    assert found == values


def test_what_is_missing_or_damaged_is_named(directory):
    with pytest.raises(FileNotFoundError, match="none"):
        read(directory, "none")
    whole = read(directory, TABLE)
    pq.write_table(whole.drop_columns(["length"]), directory / TABLE)
    with pytest.raises(ManifestError, match=rf"{TABLE}: [\d,]+ bytes, the manifest says"):
        read(directory, TABLE, ["example"])
    datasets.sign(directory)
    with pytest.raises(ManifestError, match=r"not a Parquet file with these columns \(No match for FieldRef.Name\(length\)"):
        read(directory, TABLE, ["example", "length"])
    assert [line.split(" (")[0] for line in verify(str(directory))] == [f"{TABLE}: no readable table"]
    (directory / TABLE).write_bytes(b"PAR1 and nothing else")
    datasets.sign(directory)
    with pytest.raises(ManifestError, match="not a Parquet file"):
        read(directory, TABLE)
    with pytest.raises(ManifestError, match="not a Parquet file"):
        opening.read_origins(str(directory), manifest.read(str(directory)), "train", 0)


@pytest.mark.parametrize(
    ("column", "values", "what"),
    [
        ("example", pa.array(["0"] * 9), "column example holds string"),
        ("doc_id", pa.array(range(9)), "column doc_id holds int64"),
        ("source", pa.array([None] * 9, pa.string()), "column source has 9 rows without a value"),
        ("segment", pa.array([1.5] * 9), "column segment holds double"),
        ("source", pa.DictionaryArray.from_arrays(pa.array([7] * 9), pa.array(["docs"]), safe=False), "out-of-bounds|out of bounds"),
    ],
)
def test_columns_of_a_forged_table_are_looked_at(directory, column, values, what):
    rows = read(directory, TABLE).slice(0, 9)
    pq.write_table(rows.set_column(rows.column_names.index(column), column, values), directory / TABLE)
    datasets.sign(directory)
    with pytest.raises(ManifestError, match=what):
        read(directory, TABLE)


def test_a_table_that_the_manifest_does_not_list_is_none(directory):
    (directory / "provenance/other-00000-of-00001.parquet").write_bytes((directory / TABLE).read_bytes())
    with pytest.raises(FileNotFoundError, match="the manifest lists none of this name"):
        read(directory, "provenance/other-00000-of-00001.parquet")


def test_a_forged_table_without_a_column_is_none(directory):
    """`inspect --provenance` was a KeyError."""
    pq.write_table(read(directory, TABLE).drop_columns(["segment"]), directory / TABLE)
    datasets.sign(directory)
    with pytest.raises(ManifestError, match="no column segment"):
        opening.read_origins(str(directory), manifest.read(str(directory)), "train", 0)

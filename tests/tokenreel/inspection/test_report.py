import dataclasses
import html.parser
import json

import pytest

from tests import verification_datasets as datasets
from tokenreel import commands
from tokenreel.errors import ManifestError
from tokenreel.format import manifest, naming
from tokenreel.inspection import report, verification

VOID = {"meta", "line", "rect"}


class Outline(html.parser.HTMLParser):
    """Checks that every element is closed and that nothing is loaded from elsewhere."""

    def __init__(self, page):
        super().__init__()
        self.open, self.titles, self.text = [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        names = dict(attributes)
        assert not {"src", "href", "onclick"} & set(names)
        assert tag not in ("script", "link", "img", "iframe")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        assert tag in VOID

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)
        if "style" not in self.open:
            self.text.append(data)


@pytest.fixture
def dataset(tmp_path):
    directory = tmp_path / "dataset"
    datasets.make(directory, dead_letters=30)
    return directory


def page_of(directory):
    path = report.write(str(directory))
    assert path == str(directory / naming.REPORT)
    return (directory / naming.REPORT).read_text(encoding="utf-8")


def test_the_page_stands_alone_and_tells_what_there_is(dataset):
    found = manifest.read(str(dataset))
    outline = Outline(page_of(dataset))
    assert outline.titles == [
        "Where every document went",
        "Splits",
        "Sources",
        "Lengths",
        "Most frequent tokens",
        "Special tokens: examples that hold at least one",
        "Other numbers",
        "Dead letters",
        "Records",
        "Settings",
        "Shards",
    ]
    text = " ".join(outline.text)
    statistics = json.loads((dataset / naming.STATISTICS).read_text())["splits"]
    for expected in (
        found.fingerprint,
        f"{statistics['train']['tokens']:,}",
        f"{statistics['validation']['document_starts']:,}",
        "30 documents could not be read. 30 broken json.",
        "train.tfrecord-00015-of-00016",
        "filtered: empty",
    ):
        assert expected in text
    assert text.count("broken_json") == report._LETTERS_SHOWN


def test_the_same_dataset_gives_the_same_page(dataset):
    assert page_of(dataset) == page_of(dataset)
    assert verification.verify(str(dataset)) == []


def test_text_of_the_dataset_cannot_become_markup(dataset):
    """Names of files, messages and tokens come from strangers."""
    found = manifest.read(str(dataset))
    evil = "<script>alert(1)</script>"
    statistics = json.loads((dataset / naming.STATISTICS).read_text())
    statistics["sources"] = {evil: {"documents": 1}}
    page = report.render(
        dataclasses.replace(found, config={"name": evil}),
        statistics,
        title=evil,
        pieces={number: evil for number in range(300)},
        dead_letters=[{"source": evil, "file": evil, "reason": evil, "message": evil}],
    )
    assert "<script" not in page
    assert page.count("&lt;script") >= 8
    Outline(page)


def test_what_an_objective_counts_is_shown(dataset):
    statistics = json.loads((dataset / naming.STATISTICS).read_text())
    statistics["splits"]["train"]["masked_rate"] = 0.15
    statistics["splits"]["train"]["objective"] = {"masked": {"kept_as_is": 12}, "bins": [1, 2], "by_position": list(range(64))}
    page = report.render(manifest.read(str(dataset)), statistics, title="t")
    for name, value in (("masked rate", "0.15"), ("objective: masked: kept as is", "12"), ("objective: bins", "[1, 2]")):
        assert f'<td class="text">{name}</td><td>{value}</td><td>-</td>' in page
    assert "<h3>train: objective: by position</h3><svg" in page
    assert "<title>60: 61.5</title>" in page  # the mean of 60 to 63


def test_empty_statistics_make_a_page(dataset):
    Outline(report.render(manifest.read(str(dataset)), {}, title="t"))


def test_a_report_elsewhere(dataset, tmp_path, capsys):
    target = tmp_path / "pages" / "report.html"
    assert commands.main("report", [str(dataset), "--output", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    assert target.exists() and not (dataset / naming.REPORT).exists()


def test_unreadable_statistics_are_said(dataset, capsys):
    (dataset / naming.STATISTICS).write_text("{")
    with pytest.raises(ManifestError, match=r"statistics\.json: 1 bytes, the manifest says"):
        report.write(str(dataset))
    (dataset / naming.STATISTICS).unlink()
    assert commands.main("report", [str(dataset)]) == 2
    assert "statistics.json: cannot be read" in capsys.readouterr().err


def test_brackets_in_brackets_are_no_dead_letter(dataset):
    letters = dataset / naming.DEAD_LETTERS
    letters.write_bytes(b"[" * 100_000 + b"\n" + letters.read_bytes())
    datasets.sign(dataset)
    with pytest.raises(ManifestError, match=r"not what a build writes \(RecursionError"):
        report.write(str(dataset))


def test_tokens_are_numbers_where_the_vocabulary_cannot_be_loaded(dataset, monkeypatch, capsys):
    from tokenreel.errors import VocabularyError

    def fail(directory, found):
        raise VocabularyError("no sentencepiece here")

    monkeypatch.setattr(report, "open_vocabulary", fail)
    assert "<title>104: " in page_of(dataset)
    assert "no sentencepiece here" in capsys.readouterr().err

import re

from tokenreel.inspection import charts


def test_histograms_show_every_bin_between_the_first_and_the_last():
    assert charts.histogram_bins({"1": 4, "15": 2, "2047": 1}) == [
        ("1", 4), ("2-3", 0), ("4-7", 0), ("8-15", 2), ("16-31", 0), ("32-63", 0), ("64-127", 0), ("128-255", 0), ("256-511", 0),
        ("512-1k", 0), ("1k-2k", 1),
    ]  # fmt: skip


def test_columns_are_as_tall_as_their_counts():
    heights = [float(h) for h in re.findall(r'<rect [^>]*height="([\d.]+)"', charts.column_chart([("a", 50), ("b", 100), ("c", 0)]))]
    assert heights[1] == 2 * heights[0] > 0 == heights[2]

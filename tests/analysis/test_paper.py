"""The page on the paper's tables is that of the code."""

import pytest

from benchmark.analysis import paper
from benchmark.files import ROOT


def test_page_is_up_to_date(tmp_path):
    paper.write(tmp_path / "paper.md")
    written = (ROOT / "docs" / "paper.md").read_text()
    assert (tmp_path / "paper.md").read_text() == written, "run python -m benchmark paper"


def test_differences_from_the_paper_are_marked(tmp_path, monkeypatch):
    row = paper.Row("batch", 32, "batch_size", {"6h_vs_8z": 64})
    monkeypatch.setattr(paper, "TABLES", {"Table 2": [row]})
    monkeypatch.setitem(paper.TABLE_3, "MMM2", (0.05, 2.0, 0.0, 9.0))
    paper.write(tmp_path / "paper.md")
    text = (tmp_path / "paper.md").read_text()
    large = "6h_vs_8z, protoss_10_vs_11, terran_10_vs_11, zerg_10_vs_11"
    assert f"| batch | `batch_size` | 32; 64 on 6h_vs_8z | **32; 64 on {large}** |" in text
    assert (
        "| MMM2 | 0.05 / 2 / 0 / 9 | 0.05 / 2 / 0 / **1** | **0.01** / **1** / **1** / **1** |"
        in text
    )


@pytest.mark.parametrize("protocol", ["unified", "released"])
def test_every_key_exists_on_every_map(protocol):
    rows = [row for rows in paper.TABLES.values() for row in rows]
    for values in paper._settings(protocol).values():
        assert all(row.key in values for row in rows)

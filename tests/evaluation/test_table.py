from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import table


def test_write() -> None:
    """A table is a header, a rule that aligns numbers to the right, and the rows."""
    assert table.write(["set", "rows"], [["tea", "3"]]) == "| set | rows |\n| --- | ---: |\n| tea | 3 |\n"


@given(st.lists(st.lists(st.text(), min_size=2, max_size=2), max_size=5))
def test_write_any_text(rows: list[list[str]]) -> None:
    """No text of a cell can break its row or add a column."""
    lines = table.write(["a", "b"], rows).splitlines()
    assert len(lines) == 2 + len(rows)
    for line in lines:
        assert line.replace("\\\\", "").replace("\\|", "").count("|") == 3


def test_write_uneven() -> None:
    """A row of another length than the header is refused."""
    with pytest.raises(ValueError, match="as many cells"):
        table.write(["a", "b"], [["c"]])

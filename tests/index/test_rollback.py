"""Going back to an earlier version of the index, and what later builds make of that."""

from __future__ import annotations

from pathlib import Path

from retrieval.layout import Layout
from tests.index.conftest import Run, Said, add_row, origins, row_of


def test_start_leaves_a_rollback(run: Run, layout: Layout, source: Path, office: Path) -> None:
    """`make run` undoes no rollback, also not one on which something was added; changed knowledge is built again."""
    run("build")
    add_row(source)
    run("build")
    run("rollback")
    run("add", str(office))
    name = layout.current().root.name
    assert run("build", "--if-changed").err == f"index: version {name} is up to date\n"
    assert origins(layout) == {"knowledge": 6, "office": 2}
    row_of(source).write_bytes(row_of(source).read_bytes() + b"\n")
    assert run("build", "--if-changed").code == 0
    assert origins(layout) == {"knowledge": 7, "office": 2}


def test_rolled_back_knowledge_returns(run: Run, layout: Layout, source: Path) -> None:
    """Once other knowledge was built, that which was rolled back from is built like any other."""
    first = row_of(source).read_bytes()
    run("build")
    add_row(source)
    second = row_of(source).read_bytes()
    run("build")
    run("rollback")
    row_of(source).write_bytes(first + b"\n")
    run("build", "--if-changed")
    row_of(source).write_bytes(second)
    assert run("build", "--if-changed").code == 0
    assert (len(layout.published()), origins(layout)) == (4, {"knowledge": 7})


def test_rollback_twice(run: Run, layout: Layout, source: Path) -> None:
    """After several rollbacks the newest knowledge is the one that is not built again."""
    for _ in range(2):
        run("build")
        row_of(source).write_bytes(row_of(source).read_bytes() + b"\n")
    run("build")
    run("rollback")
    run("rollback")
    first = layout.published()[0]
    assert run("build", "--if-changed").err == f"index: version {first} is up to date\n"


def test_rollback_to(run: Run, layout: Layout) -> None:
    """A rollback goes to any version that is kept, back or forth, and to none that is not."""
    for _ in range(3):
        run("build")
    first, second, third = layout.published()
    for name in (first, third, second):
        assert run("rollback", "--to", name)[:2] == (0, f"index: version {name} is serving again\n")
        assert name == layout.current().root.name
    for name in ("gone", "..", ""):
        said = run("rollback", f"--to={name}")
        expected = f"comity index: there is no version {name} in {layout.root}; `comity index show` lists them\n"
        assert said == Said(2, "", expected)
    assert second == layout.current().root.name
    assert f"from {third}" in run("show").out
    run("rollback", "--to", third)
    assert "rolled back: no" in run("show").out


def test_rollback_of_nothing(run: Run, layout: Layout) -> None:
    """Where there is no index nothing is made, whatever is named."""
    for options in ((), ("--to", "20260101")):
        said = run("rollback", *options)
        assert (said.code, "there is no index in" in said.err) == (2, True)
    assert not layout.lock.exists()


def test_rollback_to_what_is_damaged(run: Run, layout: Layout) -> None:
    """A version that could not serve is not rolled back to."""
    run("build")
    run("build")
    first, second = layout.published()
    layout.version(first).vectors.write_bytes(b"")
    said = run("rollback")
    assert (said.code, said.out) == (2, "")
    assert "vectors.faiss differs from its checksum" in said.err
    assert second == layout.current().root.name


def test_rollback_from_what_is_damaged(run: Run, layout: Layout) -> None:
    """A damaged version can be rolled back from, and the next start builds a sound one."""
    run("build")
    run("build")
    first, second = layout.published()
    layout.version(second).manifest.write_text("{}", encoding="utf-8")
    assert run("rollback").code == 0
    assert first == layout.current().root.name


def test_rollback_without_a_pointer(run: Run, layout: Layout, source: Path) -> None:
    """A version that is named serves again also where the pointer is damaged or names what is gone."""
    run("build")
    name = layout.current().root.name
    for broken in ("gone", "", "\ufffd/.."):
        layout.pointer.write_text(broken, encoding="utf-8")
        assert run("rollback").code == 2
        assert run("rollback", "--to", name) == Said(0, f"index: version {name} is serving again\n", "")
        assert layout.current().root.name == name
    layout.pointer.unlink()
    assert run("rollback", "--to", name).code == 0

"""`comity index …` and `comity knowledge check`: exit codes 0, 1 and 2, results on stdout, messages on stderr."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from index import __main__ as command
from index import commands, knowledge, texts
from index.knowledge import Knowledge
from retrieval import words
from retrieval.layout import FILES, Layout
from tests.index.conftest import ROOT, Run, Said, add_row, row_of


def test_build(run: Run, layout: Layout) -> None:
    """A build says on stdout which version serves, and its progress on stderr."""
    said = run("build")
    expected = f"index: version {layout.current().root.name} of 6 descriptions is serving from {layout.root}\n"
    assert (0, expected) == said[:2]
    assert "6 descriptions; loading the encoder" in said.err


def test_build_as_json(run: Run, layout: Layout) -> None:
    """With --json a build prints the manifest and nothing else."""
    said = run("build", "--json")
    assert said.code == 0
    assert (layout.current().root.name, 6) == (json.loads(said.out)["version"], json.loads(said.out)["descriptions"])


def test_nothing_changed(run: Run, layout: Layout) -> None:
    """--if-changed builds first where there is no index, and then does nothing until the knowledge changes."""
    assert run("build", "--if-changed").code == 0
    first = layout.published()
    said = run("build", "--if-changed")
    assert (0, f"index: version {first[0]} is up to date\n") == (said.code, said.err)
    assert first == layout.published()


def test_nothing_changed_as_json(run: Run, layout: Layout) -> None:
    """With --json there is JSON on stdout also when nothing had to be built."""
    run("build")
    said = run("build", "--if-changed", "--json")
    assert said.code == 0
    assert json.loads(said.out)["version"] == layout.current().root.name


@pytest.mark.parametrize(("id", "versions"), [("other-1", 2), (None, 1)])
def test_encoder_changed(
    run: Run, layout: Layout, monkeypatch: pytest.MonkeyPatch, id: str | None, versions: int
) -> None:
    """--if-changed builds where the model of that name has other weights now, and not where it cannot be looked at."""
    run("build")
    monkeypatch.setattr(commands, "_encoder_id", lambda options: id)
    assert run("build", "--if-changed").code == 0
    assert versions == len(layout.published())


def test_encoder_is_of_another_precision(run: Run, layout: Layout) -> None:
    """--if-changed does not take an index of one precision for one of the other, nor one with other prompts."""
    run("build")
    options = argparse.Namespace(encoder="comity-minilm", query_prompt=None, passage_prompt=None, precision="int8")
    id = layout.current().read_manifest().encoder_id
    assert id == commands._encoder_id(options)
    options.precision = "float32"
    assert id == f"{commands._encoder_id(options)}-int8"
    options.query_prompt = "query: "
    assert commands._encoder_id(options) not in (None, id, id.removesuffix("-int8"))


def test_fields_changed(run: Run, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """--if-changed builds where other texts are to have a vector than those that have one."""
    run("build")
    monkeypatch.setattr(texts, "FIELDS", ("statement", "questions"))
    assert run("build", "--if-changed").code == 0
    manifest = layout.current().read_manifest()
    assert (manifest.fields, manifest.descriptions) == (("statement", "questions"), 6)
    assert run("verify").code == 0
    assert "is up to date" in run("build", "--if-changed").err


def test_kind_is_asked_for(run: Run, layout: Layout) -> None:
    """--kind makes an index of that kind, and --if-changed holds what is there against it only where it is given."""
    run("build")
    assert run("build", "--if-changed", "--kind", "ivf").code == 0
    assert layout.current().read_manifest().kind == "ivf"
    for options in ((), ("--kind", "ivf")):
        assert "is up to date" in run("build", "--if-changed", *options).err
    assert run("verify").code == 0


def test_knowledge_changed(run: Run, layout: Layout, source: Path) -> None:
    """--if-changed builds a second version when a description was added."""
    run("build")
    add_row(source)
    assert run("build", "--if-changed").code == 0
    assert len(layout.published()) == 2
    assert layout.current().read_manifest().descriptions == 7


def test_knowledge_is_taken_back(run: Run, layout: Layout, source: Path) -> None:
    """--if-changed serves the knowledge as it is, also when it is again what an earlier version was built from."""
    before = row_of(source).read_bytes()
    run("build")
    add_row(source)
    run("build")
    row_of(source).write_bytes(before)
    assert run("build", "--if-changed").code == 0
    assert layout.current().read_manifest().descriptions == 6


def test_rolled_back(run: Run, layout: Layout, source: Path) -> None:
    """--if-changed leaves a rollback in place, until the knowledge changes again."""
    run("build")
    add_row(source)
    run("build")
    run("rollback")
    first, second = layout.published()
    said = run("build", "--if-changed")
    assert Said(0, "", f"index: version {first} is up to date\n") == said
    assert (first, [first, second]) == (layout.current().root.name, layout.published())
    with row_of(source).open("a", encoding="utf-8") as file:
        file.write("\n")
    assert run("build", "--if-changed").code == 0
    assert (3, layout.published()[-1]) == (len(layout.published()), layout.current().root.name)


@pytest.mark.parametrize("name", ["manifest.json", *FILES, words.FILES[0]])
@pytest.mark.parametrize("bytes", [None, b"damaged"])
def test_serving_version_is_damaged(run: Run, layout: Layout, name: str, bytes: bytes | None) -> None:
    """--if-changed builds a sound version when a file of the serving one is damaged or gone."""
    run("build")
    file = layout.current().root / name
    file.unlink()
    if bytes is not None:
        file.write_bytes(bytes)
    assert run("build", "--if-changed").code == 0
    assert (2, layout.published()[-1]) == (len(layout.published()), layout.current().root.name)
    assert run("verify").code == 0


def test_knowledge_changes_meanwhile(run: Run, layout: Layout, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build during which the knowledge changes exits 2 with one sentence, and the old version serves."""
    run("build")
    before = layout.published()
    load = knowledge.load

    def loaded_then_changed(root: Path) -> Knowledge:
        found = load(root)
        add_row(source)
        return found

    monkeypatch.setattr(knowledge, "load", loaded_then_changed)
    said = run("build")
    expected = f"comity index: {source} changed while the index was built; run `comity index build` again"
    assert (2, "", expected) == (said.code, said.out, said.err.splitlines()[-1])
    assert (before, before[-1]) == (layout.published(), layout.current().root.name)


def test_broken_knowledge(run: Run, layout: Layout, source: Path) -> None:
    """A build from broken knowledge exits 2, names every fault on stderr and leaves the serving version."""
    run("build")
    before = layout.published()
    row_of(source).write_text("{\n[]\n", encoding="utf-8")
    said = run("build", "--if-changed")
    assert said[:2] == (2, "")
    expected = [f"{row_of(source)}:{number}: line: not a JSON object" for number in (1, 2)]
    assert expected == [line[: len(wanted)] for line, wanted in zip(said.err.splitlines(), expected, strict=True)]
    assert before == layout.published()


def test_index_cannot_be_written(run: Run, layout: Layout) -> None:
    """A build into a folder that is a file exits 2 with one sentence."""
    layout.versions.write_text("", encoding="utf-8")
    said = run("build")
    assert said.code == 2
    assert "Traceback" not in said.err


def test_verify(run: Run, layout: Layout) -> None:
    """A sound version verifies with 0, and what was checked is said; as JSON too."""
    run("build")
    name = layout.current().root.name
    code, out, err = run("verify")
    assert (code, out.splitlines()[-1], err) == (0, f"index: version {name} verifies", "")
    said = run("verify", "--json")
    told = json.loads(said.out)
    assert (said.code, told["ok"], told["version"], told["faults"], told["recall"]) == (0, True, name, [], 1.0)
    assert [f"  {check}" for check in told["checks"]] == out.splitlines()[:-1]
    assert len(told["checks"]) == 7


def test_verify_finds_a_changed_file(run: Run, layout: Layout) -> None:
    """A changed file fails with 1 and is named on stderr; as JSON, on stdout as well."""
    run("build")
    version = layout.current()
    version.descriptions.write_text("", encoding="utf-8")
    fault = "descriptions.jsonl differs from its checksum"
    assert Said(1, "", f"comity index: version {version.root.name}: {fault}\n") == run("verify")
    said = run("verify", "--json")
    told = json.loads(said.out)
    assert (said.code, told["ok"], told["version"], told["faults"]) == (1, False, version.root.name, [fault])


def test_show(run: Run, layout: Layout) -> None:
    """The serving version and the versions kept are printed, for people or as JSON."""
    run("build")
    run("build")
    run("rollback")
    first, second = layout.published()
    code, out, err = run("show")
    assert (code, err, out.splitlines()[-2:]) == (0, "", [f"  {first} (serving)", f"  {second}"])
    assert "6 descriptions of 2 cultures" in out
    assert f"rolled back: from {second}" in out
    shown = json.loads(run("show", "--json").out)
    assert (shown["versions"], shown["serving"], shown["descriptions"]) == ([first, second], first, 6)
    assert shown["rolled_back"]["version"] == second


def test_rollback(run: Run, layout: Layout) -> None:
    """Each rollback serves the version before, until there is none, which is 1 and changes nothing."""
    for _ in range(3):
        run("build")
    first, second, _ = layout.published()
    assert (0, f"index: version {second} is serving again\n") == run("rollback")[:2]
    said = run("rollback", "--json")
    assert (0, {"version": first}) == (said.code, json.loads(said.out))
    said = run("rollback")
    assert Said(1, "", f"comity index: there is no version before {first} in {layout.root}\n") == said
    assert first == layout.current().root.name


@pytest.mark.parametrize("action", [["verify"], ["show"], ["rollback"], ["remove", "a"], ["add", "a.csv"]])
def test_no_index(run: Run, layout: Layout, action: list[str]) -> None:
    """Without an index there is nothing to verify, show, roll back or change: 2 and one sentence."""
    expected = f"comity index: there is no index in {layout.root}; run `comity index build`\n"
    assert Said(2, "", expected) == run(*action)


@pytest.mark.parametrize("action", [["rollback"], ["remove", "a"], ["add", "a.csv"], ["verify"], ["show"]])
def test_no_folder_is_made(tmp_path: Path, action: list[str]) -> None:
    """Only a build makes the folder of an index."""
    assert command.main([*action, "--index", str(tmp_path / "typo")]) == 2
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize("keep", ["0", "-1", "some", "1.5"])
def test_how_many_to_keep(run: Run, keep: str) -> None:
    """The number of versions to keep is a whole number from 1."""
    with pytest.raises(SystemExit) as caught:
        run("build", f"--keep={keep}")
    assert caught.value.code == 2


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"files": []}'], ids=["cut", "deep", "short"])
@pytest.mark.parametrize("action", [["verify"], ["show"], ["remove", "a"]])
def test_manifest_is_broken(run: Run, layout: Layout, action: list[str], text: str) -> None:
    """A broken manifest is unusable input: 2 and one sentence that says what to do."""
    run("build")
    layout.current().manifest.write_text(text, encoding="utf-8")
    said = run(*action)
    assert (said.code, said.out, len(said.err.splitlines())) == (2, "", 1)
    assert "run `comity index build`" in said.err


def test_as_a_process(source: Path) -> None:
    """The command line reaches `knowledge check`, and its exit code is the process's."""
    row_of(source).write_text("{\n", encoding="utf-8")
    asked = [sys.executable, "-m", "service", "knowledge", "check", "--knowledge", str(source)]
    said = subprocess.run(asked, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)  # noqa: S603
    assert (said.returncode, said.stdout, len(said.stderr.splitlines())) == (1, "", 1)

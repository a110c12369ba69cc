"""The encoder's training reads what it may learn from, changes what it should, and gives a file that is exported."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from adaptation import encoder
from adaptation.encoder import Lessons, Plan
from index import export, model
from retrieval.encoder import Vectors
from retrieval.layout import Layout

ROOT = Path(__file__).parents[2]
PLACES = ("door", "table", "stairs", "bus", "garden", "office", "market", "kitchen", "beach", "library", "train")
ACTS = ("singing loudly", "keeping quiet", "leaving early", "greeting all", "waiting in line")


@pytest.fixture
def stories(tmp_path: Path) -> Path:
    """Stories about fifty-five norms, each told twice."""
    rows = [
        {
            "norm": f"At the {place} {act} is expected.",
            "moral_action": f"Ann came to the {place} and began {act}.",
            "immoral_action": f"Ann came to the {place} and was far from {act}.",
        }
        for place in PLACES
        for act in ACTS
    ]
    path = tmp_path / "stories.jsonl"
    path.write_text("".join(json.dumps(row) + "\n\n" for row in rows * 2), encoding="utf-8")
    return path


def test_read(stories: Path) -> None:
    """Each norm is read once, with the two actions about it."""
    found = encoder.read(stories)
    assert len(found) == 55
    norm, actions = found[0]
    assert norm == "At the door singing loudly is expected."
    assert actions == (
        "Ann came to the door and began singing loudly.",
        "Ann came to the door and was far from singing loudly.",
    )


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"norm": "N"}', '"norm"', '{"norm": "N", "moral_action": 5, "immoral_action": ""}']
)
def test_broken_stories(stories: Path, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A line that is no story, or too few of them, ends the command with one sentence that names it."""
    stories.write_text(f"\n{line}\n", encoding="utf-8")
    assert encoder.main([str(stories), "--out", str(stories.with_name("out"))]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"adaptation.encoder: {stories}:2: wanted norm, moral_action and immoral_action (")
    stories.write_text("", encoding="utf-8")
    assert encoder.main([str(stories), "--out", str(stories.with_name("out"))]) == 2
    assert f"{stories} holds 0 norms; a batch takes {Plan().batch}" in capsys.readouterr().err
    assert not stories.with_name("out").exists()


def test_nowhere_to_write(stories: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing folder is told before the training and not after it."""
    assert encoder.main([str(stories), "--out", str(tmp_path / "gone" / "out")]) == 2
    expected = f"adaptation.encoder: --out {tmp_path}/gone/out: there is no folder {tmp_path}/gone\n"
    assert capsys.readouterr().err == expected


def test_held_out_queries() -> None:
    """No query that is held out is learned from, nor the description that it is about."""
    learned = {text for culture in encoder.queries(ROOT) for said, asked in culture for text in (said, *asked)}
    rows = [
        json.loads(line) for line in (ROOT / "evaluation" / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    held = {row["query"] for row in rows if row["held_out"]}
    assert 100 < len(held) < len(rows) / 2
    assert held & learned == set()
    assert {row["query"] for row in rows} - held <= learned
    apart = {row["description_id"] for row in rows if row["held_out"]}
    assert apart & {row["description_id"] for row in rows if not row["held_out"]} == set()


def test_batches() -> None:
    """A batch is of stories, or of whole cultures, and never holds a norm twice."""
    stories = [(f"n{number}", ("a", "b")) for number in range(50)]
    cultures = [[(f"{culture}{number}", ("q",)) for number in range(10)] for culture in "abcdef"]
    drawn = [Lessons(stories, cultures).batch(random.Random(seed), 44) for seed in range(20)]  # noqa: S311
    assert {len(batch) for batch in drawn} == {44}
    assert {len({said for said, _ in batch}) for batch in drawn} == {44}
    kinds = {"".join(sorted({said[0] for said, _ in batch})) for batch in drawn}
    assert "n" in kinds
    assert all(len(kind) == 5 for kind in kinds - {"n"})


def test_train(stories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps bring stories nearer to their norms, and what they give is what the encoder is exported with."""
    monkeypatch.setattr(model, "_from_hub", lambda repository: None)
    out = tmp_path / "tuning.safetensors"
    assert encoder.main([str(stories), "--checkout", str(ROOT), "--out", str(out), "--steps", "3"]) == 0
    change = load_file(out)
    assert len(change) == 2 * 6 * 6  # two matrices for each of six linear layers in each of six
    assert {name.rpartition(".")[2] for name in change} == {"up", "down"}
    assert out.stat().st_size < 2_000_000

    monkeypatch.setattr(model, "TUNING", out)
    made = export.export(model.DEFAULT, Layout(tmp_path / "index"), "float32")
    base = SentenceTransformer(str(model.find(model.BASE).folder), device="cpu")
    told = encoder.read(stories)
    pairs = [[text for text, _ in told], [actions[0] for _, actions in told]]
    before = [base.encode(texts, normalize_embeddings=True) for texts in pairs]
    after = [made.encode(texts) for texts in pairs]
    assert margin(*after) > margin(*before)


def margin(norms: Vectors, stories: Vectors) -> float:
    """Give how much nearer norms are to their own stories than to the others, on average."""
    near = norms @ stories.T
    return float(np.trace(near) / len(near) - (near.sum() - np.trace(near)) / (near.size - len(near)))


def test_same_again(stories: Path, tmp_path: Path) -> None:
    """Trained twice from the same seed, the change is the same but for rounding."""
    lessons, found = Lessons(encoder.read(stories), []), []
    for _ in range(2):
        base = SentenceTransformer(str(model.find(model.BASE).folder), device="cpu")
        found.append(encoder.train(base, lessons, Plan(steps=2, batch=8)))
    assert found[0].keys() == found[1].keys()
    for name, values in found[0].items():
        np.testing.assert_allclose(values.numpy(), found[1][name].numpy(), atol=1e-3)

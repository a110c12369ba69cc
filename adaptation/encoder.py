"""Trains Comity's encoder: a low-rank change of MiniLM that brings a story near the norm that it is about.

    python -m adaptation.encoder STORIES.jsonl --out index/tuning.safetensors

STORIES is Moral Stories (Emelin et al., 2021; MIT licence): JSON lines with `norm`, `moral_action`, `immoral_action`.
It is not part of this repository. Beside it the queries of evaluation/queries.jsonl that are not held out are learned
from, each near the description that it is about. Two thirds of the change are kept: between the weights before and
after training lie models that are better at both what was learned and what was known (Wortsman et al., 2022).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from torch.nn import functional
from tqdm import tqdm

from index import knowledge
from index.knowledge import KnowledgeBroken
from index.model import BASE, find

_RANK = 16
_SCALE = 2.0  # of a change against its layer
_KEPT = 0.65  # of the change
_SHARPNESS = 20.0  # of the softmax over cosines, as sentence-transformers' own losses have it
_MAX_TOKENS = 160
_WARM = 20  # steps in which the rate rises
Lesson = tuple[str, tuple[str, ...]]  # a norm, and texts that are about it


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast is trained; `rate` is AdamW's highest learning rate."""

    steps: int = 240
    batch: int = 44
    rate: float = 2e-4
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Lessons:
    """What is learned from: norms with stories about them, and of each culture descriptions with queries about them."""

    stories: Sequence[Lesson]
    cultures: Sequence[Sequence[Lesson]]

    def batch(self, chance: random.Random, size: int) -> list[Lesson]:
        """Draw norms of stories, or the descriptions of few cultures, which only their content tells apart."""
        if chance.random() < 0.5 or not self.cultures:
            return chance.sample(self.stories, size)
        drawn = [each for culture in chance.sample(self.cultures, len(self.cultures)) for each in culture]
        return drawn[:size]


class Change(torch.nn.Module):
    """A linear layer and a low-rank change of it (Hu et al., 2021), which alone is trained."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__()
        self.layer = layer
        self.down = torch.nn.Parameter(torch.randn(_RANK, layer.in_features) * 0.02)
        self.up = torch.nn.Parameter(torch.zeros(layer.out_features, _RANK))

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """Apply both."""
        changed: torch.Tensor = self.layer(given) + _SCALE * (given @ self.down.T) @ self.up.T
        return changed


def read(path: Path) -> list[Lesson]:
    """Read each norm once, with the actions that keep and break it.

    Raises:
        ValueError: a line is not what Moral Stories holds, or it holds too few; the message names file and line.
    """
    found: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
                norm, *actions = (str.strip(row[key]) for key in ("norm", "moral_action", "immoral_action"))
                found.setdefault(norm, tuple(actions))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}:{number}: wanted norm, moral_action and immoral_action ({error})") from error
    if len(found) < Plan().batch:
        raise ValueError(f"{path} holds {len(found)} norms; a batch takes {Plan().batch}")
    return list(found.items())


def queries(root: Path) -> list[list[Lesson]]:
    """Give the descriptions of each culture with the queries about them that may be learned from."""
    about: dict[str, list[str]] = {}
    for line in (root / "evaluation" / "queries.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if not row["held_out"]:
            about.setdefault(row["description_id"], []).append(row["query"])
    cultures: dict[str, list[Lesson]] = {}
    for found in knowledge.load(root / "knowledge").descriptions:
        if found.id in about:
            texts = [*about[found.id], *found.questions, *([found.offends] if found.offends else [])]
            cultures.setdefault(found.culture, []).append((found.statement, tuple(texts)))
    return list(cultures.values())


def train(model: SentenceTransformer, lessons: Lessons, plan: Plan) -> dict[str, torch.Tensor]:
    """Train the changes of a BERT model's linear layers, and give them by name, float16.

    NAME.up (outputs, rank) times NAME.down (rank, inputs) is what is to be added to the layer's weights.

    In each batch a story is to be nearer to its norm than to those of the others, and a norm to its story; so are
    queries and descriptions to each other.
    """
    torch.manual_seed(plan.seed)
    chance = random.Random(plan.seed)  # noqa: S311 - which story comes when is no secret
    changes = _prepare(model)
    parameters = [parameter for change in changes.values() for parameter in (change.down, change.up)]
    optimiser = torch.optim.AdamW(parameters, lr=plan.rate, weight_decay=0.01)
    model.train()
    for step in tqdm(range(1, plan.steps + 1), desc="training", unit="step", disable=None):
        for group in optimiser.param_groups:
            group["lr"] = plan.rate * min(1.0, step / _WARM) * max(0.05, 1 - step / plan.steps)
        chosen = lessons.batch(chance, plan.batch)
        asked = _encode(model, [chance.choice(texts) for _, texts in chosen])
        near = _SHARPNESS * asked @ _encode(model, [said for said, _ in chosen]).T
        right = torch.arange(len(chosen))
        loss = functional.cross_entropy(near, right) + functional.cross_entropy(near.T, right)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
    return dict(_kept(changes))


def _prepare(model: SentenceTransformer) -> dict[str, Change]:
    """Put a change around every linear layer of the transformer, and hold all else still."""
    transformer: Any = model[0].auto_model
    for parameter in transformer.parameters():
        parameter.requires_grad = False
    names = [name for name, layer in transformer.encoder.named_modules() if isinstance(layer, torch.nn.Linear)]
    changes = {}
    for name in names:
        parent, _, last = name.rpartition(".")
        holder = transformer.encoder.get_submodule(parent)
        changes[f"encoder.{name}"] = change = Change(getattr(holder, last))
        setattr(holder, last, change)
    return changes


def _encode(model: SentenceTransformer, texts: list[str]) -> torch.Tensor:
    tokenizer: Any = model.tokenizer
    given = tokenizer(texts, padding=True, truncation=True, max_length=_MAX_TOKENS, return_tensors="pt")
    transformer: Any = model[0].auto_model
    states = transformer(**given).last_hidden_state
    mask = given["attention_mask"][..., None]
    return functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)


def _kept(changes: dict[str, Change]) -> Iterator[tuple[str, torch.Tensor]]:
    for name, change in changes.items():
        yield f"{name}.down", change.down.detach().half().contiguous()
        yield f"{name}.up", (_SCALE * _KEPT * change.up.detach()).half().contiguous()


def main(arguments: list[str]) -> int:
    """Train and write the file that `comity index build` puts into its encoder; 2 where the stories are no use."""
    parser = argparse.ArgumentParser(prog="python -m adaptation.encoder")
    parser.add_argument("stories", type=Path, help="Moral Stories, JSON lines")
    parser.add_argument("--checkout", type=Path, default=Path(), help="folder with evaluation/ and knowledge/")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--steps", type=int, default=Plan().steps)
    options = parser.parse_args(arguments)
    try:
        if not options.out.parent.is_dir():
            raise ValueError(f"--out {options.out}: there is no folder {options.out.parent}")
        lessons = Lessons(read(options.stories), queries(options.checkout))
    except (OSError, ValueError, KnowledgeBroken) as error:
        sys.stderr.write(f"adaptation.encoder: {error}\n")
        return 2
    model = SentenceTransformer(str(find(BASE).folder), device="cpu")
    save_file(train(model, lessons, Plan(steps=options.steps)), options.out)
    sys.stdout.write(f"{options.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

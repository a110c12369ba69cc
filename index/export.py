"""Exports a sentence-transformers model to ONNX, in int8 by default, for the query path that runs without torch.

`python -m index.export --index DIR [--precision float32]` writes the encoder alone and prints its folder.
"""

from __future__ import annotations

import argparse
import json
import logging
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
import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from index.model import DEFAULT, Model, find
from retrieval import encoder
from retrieval.encoder import SERVED, EncoderCard, OnnxEncoder, Precision
from retrieval.layout import IndexUnusable, Layout, sha256

# Attention as plain products and sums: the fused kind exports with guards against not-a-number that only cost time.
_PLAIN = {"attn_implementation": "eager"}
_LONGEST = 512  # tokens; descriptions are shorter, and no request should wait for a query of thousands
_INLINE = 1_900_000_000  # bytes of float32 weights; one ONNX file holds at most two gigabytes
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
    """All modules of a sentence-transformers model (transformer, pooling, dense, normalising) as one.

    It takes the ids of one text, so nothing is padded and nothing masked: any model can be asked like that, also one
    that knows no types of tokens.
    """

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor) -> object:
        features = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
        for module in self.model.children():
            features = module(features)
        return torch.nn.functional.normalize(features["sentence_embedding"], dim=-1)


def export(
    name: str,
    layout: Layout,
    precision: Precision = SERVED,
    query_prompt: str | None = None,
    passage_prompt: str | None = None,
) -> OnnxEncoder:
    """Give the ONNX form of a model, exporting it beside the index when it is not there yet.

    Args:
        name: a model of a hub, or a folder.
        query_prompt: what is set before a query; None takes the model's own, if it has one.
        passage_prompt: the same for passages.

    Raises:
        IndexUnusable: the model cannot be had, is not the pinned one, cannot be exported, or its ONNX form disagrees
            with it; where int8 costs too much the message names float32.
    """
    source = find(name, query_prompt, passage_prompt)
    target = layout.encoder(source.id(precision))
    if (target / "encoder.json").is_file():
        with suppress(IndexUnusable):  # a damaged one is exported again
            made = encoder.load(target, precision)
            made.card = replace(made.card, name=name)  # the folder may have had another place
            return made
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=target.parent, prefix=".export-"))
    try:
        _make(source, precision, beside)
        shutil.rmtree(target, ignore_errors=True)
        beside.chmod(0o755)
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return encoder.load(target, precision)


def _make(source: Model, precision: Precision, folder: Path) -> None:
    """Write the encoder of a model, in float32 first, and compare it with the model at each step."""
    try:
        loaded = SentenceTransformer(str(source.folder), device="cpu", trust_remote_code=False, model_kwargs=_PLAIN)
        loaded = loaded.float()
        if source.tuning is not None:
            _tune(loaded, source.tuning)
        loaded.max_seq_length = min(loaded.max_seq_length or _LONGEST, _LONGEST)
        _check(source, precision, loaded)
        card = EncoderCard(
            id=source.id("float32"),
            name=source.name,
            dimension=int(loaded.encode(["a"], prompt="").shape[1]),
            max_tokens=loaded.max_seq_length,
            precision="float32",
            weights_sha256=source.checksum,
            onnx_sha256="",
            tokenizer_sha256="",
            query_prompt=source.query_prompt,
            passage_prompt=source.passage_prompt,
        )
        _write(loaded, folder)
        _finish(card, folder, loaded)
        if precision == "int8":
            _quantise(folder / "model.onnx")
            _finish(replace(card, id=source.id(precision), precision=precision), folder, loaded)
    except IndexUnusable:
        raise
    except Exception as error:  # the libraries raise what they like on a model of a kind they do not know
        said = next(iter(str(error).strip().splitlines()), "")
        if "trust_remote_code" in str(error):
            said = "it needs code of its own, which is not run"
        raise IndexUnusable(f"the model {source.name} cannot be exported ({type(error).__name__}: {said})") from error


def _tune(loaded: SentenceTransformer, tuning: Path) -> None:
    """Add a low-rank change to the weights of a transformer: for each layer that it names, up times down."""
    transformer: Any = loaded[0].auto_model
    change = load_file(tuning)
    names = sorted(key.removesuffix(".down") for key in change if key.endswith(".down"))
    if not names:
        raise IndexUnusable(f"{tuning} changes nothing; train it again with adaptation/encoder.py")
    with torch.no_grad():
        for name in names:
            layer = transformer.get_submodule(name)
            layer.weight += change[f"{name}.up"].float() @ change[f"{name}.down"].float()


def _check(source: Model, precision: Precision, loaded: SentenceTransformer) -> None:
    prompts = source.query_prompt or source.passage_prompt
    if prompts and not all(getattr(module, "include_prompt", True) for module in loaded.children()):
        raise IndexUnusable(f"the model {source.name} leaves prompts out when it pools, which an export cannot")
    if getattr(getattr(loaded, "tokenizer", None), "backend_tokenizer", None) is None:
        raise IndexUnusable(f"the model {source.name} has no tokenizer of the fast kind, which the query path needs")
    if precision == "float32" and _bytes(loaded) > _INLINE:
        raise IndexUnusable(f"the model {source.name} is too large for float32 (over 1.9 GB); use --precision int8")


def _bytes(loaded: SentenceTransformer) -> int:
    return 4 * sum(weights.numel() for weights in loaded.parameters())


def _finish(card: EncoderCard, folder: Path, loaded: SentenceTransformer) -> None:
    """Write the card with the checksums of the files as they are, and compare what they make with the model."""
    model, tokenizer = sha256(folder / "model.onnx"), sha256(folder / "tokenizer.json")
    card = replace(card, onnx_sha256=model, tokenizer_sha256=tokenizer)
    (folder / "encoder.json").write_text(json.dumps(asdict(card), indent=2) + "\n", encoding="utf-8")
    _compare(loaded, encoder.load(folder, card.precision))


def _write(loaded: SentenceTransformer, target: Path) -> None:
    """Write model and tokenizer; the latter as the model uses it, which its own tokenizer.json need not say."""
    tokenizer = Tokenizer.from_str(loaded.tokenizer.backend_tokenizer.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.save(str(target / "tokenizer.json"))
    sample = torch.tensor([tokenizer.encode(_PROBES[3]).ids])
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Sentence(loaded).eval(),
            (sample,),
            str(target / "model.onnx"),
            input_names=["input_ids"],
            output_names=["sentence_embedding"],
            dynamic_shapes={"input_ids": {1: torch.export.Dim.DYNAMIC}},
            dynamo=True,
            external_data=_bytes(loaded) > _INLINE,
            verbose=False,
        )


def _quantise(file: Path) -> None:
    """Replace a float32 model by its int8 form: weights now, activations while it runs.

    A scale for each column of a matrix is what keeps the vectors. Weights are held to seven bits, because processors
    without VNNI add pairs of products in 16 bits, which eight would overflow.
    """
    whole = file.with_name("float32.onnx")
    known = onnx.load(file, load_external_data=False)
    del known.graph.value_info[:]  # the shapes of weights too, which quantising may turn round
    onnx.save(known, whole)
    file.unlink()
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
    file.with_name("model.onnx.data").unlink(missing_ok=True)


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


def _compare(loaded: SentenceTransformer, exported: OnnxEncoder) -> None:
    """Encode probes both ways, as queries and as passages; one of them is longer than the model takes.

    Raises:
        IndexUnusable: a vector is too far from the model's own.
    """
    card = exported.card
    texts = [*_PROBES, f"{_PROBES[4]} " * (card.max_tokens // 16)]
    ways = {card.query_prompt: exported.encode_queries, card.passage_prompt: exported.encode}
    cosines = [
        np.sum(loaded.encode(texts, prompt=prompt, normalize_embeddings=True) * encode(texts), axis=1)
        for prompt, encode in ways.items()
    ]
    lowest = float(np.min(cosines))
    if lowest >= _LEAST[card.precision]:  # no number is not
        return
    if card.precision == "int8":
        raise IndexUnusable(
            f"int8 costs the model {card.name} too much (cosine {lowest:.4f} to its own vectors, "
            f"{_LEAST['int8']} is wanted); use --precision float32"
        )
    raise IndexUnusable(f"the exported float32 encoder disagrees with the model {card.name} (cosine {lowest:.4f})")


def main(arguments: list[str]) -> int:
    """Export one encoder and print its folder."""
    parser = argparse.ArgumentParser(prog="python -m index.export")
    parser.add_argument("--index", type=Path, required=True, help="folder of the index")
    parser.add_argument("--encoder", default=DEFAULT, help="sentence-transformers model or folder")
    parser.add_argument("--precision", choices=get_args(Precision), default=SERVED)
    parser.add_argument("--query-prompt", help="set before a query; default: what the model says")
    parser.add_argument("--passage-prompt", help="set before a passage; default: what the model says")
    options = parser.parse_args(arguments)
    layout = Layout(options.index)
    try:
        made = export(options.encoder, layout, options.precision, options.query_prompt, options.passage_prompt)
    except (IndexUnusable, OSError) as error:
        sys.stderr.write(f"index.export: {error}\n")
        return 2
    sys.stdout.write(f"{layout.encoder(made.id)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

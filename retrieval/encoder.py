"""The sentence encoder of the query path: tokenizers and onnxruntime, no torch."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # threads of its own cost a short text more than they give
from tokenizers import Tokenizer

from retrieval.layout import IndexUnusable, sha256

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read at import; a guardrail tells nobody of its use
import onnxruntime

Vectors = npt.NDArray[np.float32]
Precision = Literal["float32", "int8"]
SERVED: Precision = "int8"
# Fused with the addition before it, a layer norm takes onnxruntime's scalar loop and several times as long.
_SLOWER = ["SkipLayerNormFusion"]


class Encoder(Protocol):
    """Turns texts into unit vectors; a model may want one prompt before queries and another before passages."""

    @property
    def id(self) -> str:
        """Name, weights, prompts and precision of the encoder; vectors of different ids must never be compared."""

    def encode(self, texts: list[str]) -> Vectors:
        """Give one unit vector a passage, float32, shape (texts, dimension)."""

    def encode_queries(self, texts: list[str]) -> Vectors:
        """Give one unit vector a query, float32, shape (texts, dimension)."""


@dataclass(frozen=True, slots=True)
class EncoderCard:
    """What `index build` writes beside an exported encoder; lengths in tokens, prompts stand right before a text.

    A card from before there were prompts names none: both are empty.
    """

    id: str
    name: str
    dimension: int
    max_tokens: int
    precision: Precision
    weights_sha256: str
    onnx_sha256: str
    tokenizer_sha256: str
    query_prompt: str = ""
    passage_prompt: str = ""


def mark(weights_sha256: str, precision: Precision, query_prompt: str, passage_prompt: str) -> str:
    """Give the end of an encoder's id: all that sets its vectors apart from those of others of its name."""
    prompts = json.dumps([query_prompt, passage_prompt]).encode()
    parts = [
        weights_sha256[:8],
        *([hashlib.sha256(prompts).hexdigest()[:8]] if query_prompt or passage_prompt else []),
        *([] if precision == "float32" else [precision]),
    ]
    return "-".join(parts)


class OnnxEncoder:
    """A sentence-transformers model exported to ONNX, pooling and normalising included (one thread)."""

    def __init__(self, card: EncoderCard, model: bytes | str, tokenizer: Tokenizer) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.card = card
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"], disabled_optimizers=_SLOWER
        )
        self._inputs = {node.name for node in self._session.get_inputs()}
        self._tokenizer = tokenizer
        self._tokenizer.enable_truncation(card.max_tokens)
        self._tokenizer.no_padding()

    @property
    def id(self) -> str:
        """Name, eight characters of the weights' checksum and of the prompts' if any, the precision unless float32."""
        return self.card.id

    def encode(self, texts: list[str]) -> Vectors:
        """Encode passages, the passage prompt before each; texts beyond `max_tokens` are cut."""
        return self._encode([self.card.passage_prompt + text for text in texts])

    def encode_queries(self, texts: list[str]) -> Vectors:
        """Encode queries, the query prompt before each; texts beyond `max_tokens` are cut."""
        return self._encode([self.card.query_prompt + text for text in texts])

    def _encode(self, texts: list[str]) -> Vectors:
        """Encode one text after another.

        One at a time, because int8 takes the scale of its activations from the whole batch: in company a text would get
        another vector than alone. On one thread a batch would be no faster.
        """
        out = np.empty((len(texts), self.card.dimension), dtype=np.float32)
        # The plain `encode` of the tokenizer holds the interpreter's lock, which would stop the event loop.
        for row, found in enumerate(self._tokenizer.encode_batch_fast(texts)):
            known = {"input_ids": found.ids, "attention_mask": found.attention_mask, "token_type_ids": found.type_ids}
            feed = {name: np.asarray([known[name]], dtype=np.int64) for name in self._inputs}
            out[row] = self._session.run(None, feed)[0][0]
        return out


def load(folder: Path, precision: Precision | None = None) -> OnnxEncoder:
    """Open an exported encoder.

    Args:
        precision: the one wanted; None takes the card's.

    Raises:
        IndexUnusable: a file is missing, the model is not the card's, or it is of another precision.
    """
    try:
        card = EncoderCard(**json.loads((folder / "encoder.json").read_text(encoding="utf-8")))
        if precision not in (None, card.precision):
            raise IndexUnusable(
                f"the encoder in {folder} is {card.precision}, not {precision}; run `comity index build`"
            )
        end = mark(card.weights_sha256, card.precision, card.query_prompt, card.passage_prompt)
        if not card.id.endswith(f"-{end}"):
            raise IndexUnusable(
                f"{folder / 'encoder.json'} names other weights, prompts or precision than its id {card.id}; "
                "run `comity index build`"
            )
        model, tokenizer = folder / "model.onnx", folder / "tokenizer.json"
        for file, checksum in ((model, card.onnx_sha256), (tokenizer, card.tokenizer_sha256)):
            if sha256(file) != checksum:
                raise IndexUnusable(f"{file} differs from its checksum; run `comity index build`")
        return OnnxEncoder(card, str(model), Tokenizer.from_file(str(tokenizer)))
    except IndexUnusable:
        raise
    except Exception as error:  # tokenizers and onnxruntime raise bare exceptions of their own
        raise IndexUnusable(f"the encoder in {folder} cannot be opened; run `comity index build`") from error

"""The sentence encoder of the query path: tokenizers and onnxruntime, no torch."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
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
    """Turns texts into unit vectors."""

    @property
    def id(self) -> str:
        """Name, weights and precision of the encoder; vectors of different ids must never be compared."""

    def encode(self, texts: list[str]) -> Vectors:
        """Give one unit vector a text, float32, shape (texts, dimension)."""


@dataclass(frozen=True, slots=True)
class EncoderCard:
    """What `index build` writes beside an exported encoder; lengths in tokens."""

    id: str
    name: str
    dimension: int
    max_tokens: int
    precision: Precision
    weights_sha256: str
    onnx_sha256: str
    tokenizer_sha256: str


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
        """Name, the first eight characters of the weights' checksum, and the precision unless it is float32."""
        return self.card.id

    def encode(self, texts: list[str]) -> Vectors:
        """Encode one text after another; texts beyond `max_tokens` are cut.

        One at a time, because int8 takes the scale of its activations from the whole batch: in company a text would get
        another vector than alone. On one thread a batch would be no faster.
        """
        out = np.empty((len(texts), self.card.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            found = self._tokenizer.encode(text)
            known = {"input_ids": found.ids, "attention_mask": found.attention_mask, "token_type_ids": found.type_ids}
            feed = {name: np.asarray([known[name]], dtype=np.int64) for name in self._inputs}
            out[row] = self._session.run(None, feed)[0][0]
        return out


def load(folder: Path, precision: Precision = SERVED) -> OnnxEncoder:
    """Open an exported encoder.

    Raises:
        IndexUnusable: a file is missing, the model is not the card's, or it is of another precision.
    """
    try:
        card = EncoderCard(**json.loads((folder / "encoder.json").read_text(encoding="utf-8")))
        if card.precision != precision:
            raise IndexUnusable(
                f"the encoder in {folder} is {card.precision}, not {precision}; run `comity index build`"
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

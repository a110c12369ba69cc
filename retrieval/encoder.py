"""The sentence encoder of the query path: tokenizers and onnxruntime, no torch."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from retrieval.layout import IndexUnusable, sha256

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read at import; a guardrail tells nobody of its use
import onnxruntime

Vectors = npt.NDArray[np.float32]
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_BATCH = 32


class Encoder(Protocol):
    """Turns texts into unit vectors."""

    @property
    def id(self) -> str:
        """Name and weights of the encoder; vectors of different ids must never be compared."""

    def encode(self, texts: list[str]) -> Vectors:
        """Give one unit vector a text, float32, shape (texts, dimension)."""


@dataclass(frozen=True, slots=True)
class EncoderCard:
    """What `index build` writes beside an exported encoder; lengths in tokens."""

    id: str
    name: str
    dimension: int
    max_tokens: int
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
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._inputs = {node.name for node in self._session.get_inputs()}
        self._tokenizer = tokenizer
        self._tokenizer.enable_truncation(card.max_tokens)
        self._tokenizer.enable_padding()

    @property
    def id(self) -> str:
        """Name and the first eight characters of the weights' checksum."""
        return self.card.id

    def encode(self, texts: list[str]) -> Vectors:
        """Encode in batches of 32; texts beyond `max_tokens` are cut.

        Sorted by length first, so that a short text is not padded to the longest one.
        """
        out = np.zeros((len(texts), self.card.dimension), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            encodings = self._tokenizer.encode_batch([texts[row] for row in rows])
            arrays = (
                [e.ids for e in encodings],
                [e.attention_mask for e in encodings],
                [e.type_ids for e in encodings],
            )
            feed = {
                name: np.asarray(values, dtype=np.int64)
                for name, values in zip(_INPUTS, arrays, strict=True)
                if name in self._inputs
            }
            out[rows] = self._session.run(None, feed)[0]
        return out


def load(folder: Path) -> OnnxEncoder:
    """Open an exported encoder.

    Raises:
        IndexUnusable: a file is missing, or the model is not the one that the card describes.
    """
    try:
        card = EncoderCard(**json.loads((folder / "encoder.json").read_text(encoding="utf-8")))
        model, tokenizer = folder / "model.onnx", folder / "tokenizer.json"
        for file, checksum in ((model, card.onnx_sha256), (tokenizer, card.tokenizer_sha256)):
            if sha256(file) != checksum:
                raise IndexUnusable(f"{file} differs from its checksum; run `comity index build`")
        return OnnxEncoder(card, str(model), Tokenizer.from_file(str(tokenizer)))
    except IndexUnusable:
        raise
    except Exception as error:  # tokenizers and onnxruntime raise bare exceptions of their own
        raise IndexUnusable(f"the encoder in {folder} cannot be opened; run `comity index build`") from error

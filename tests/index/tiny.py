"""Makes tiny sentence-transformers models of random weights, in folders as model hubs hold them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaModel,
)

HIDDEN = 32
SENTENCES = [
    "Guests leave their shoes at the door and wait until the host asks them in.",
    "A gift is given with both hands, and it is not opened before the guests have gone.",
    "玄関で靴を脱ぎ、スリッパに履き替えます。",
    "En la mesa se espera a que todos estén servidos.",
    "Am Sonntag bleibt der Rasenmäher stehen; wer spät kommt, ruft vorher an.",
]
_SIZES: dict[str, Any] = {"vocab_size": 400, "initializer_range": 0.3}
_USUAL: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
_FEW: dict[str, Any] = {"dim": HIDDEN, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
# The kinds differ in what they take, how they count positions, and where padding stands in the vocabulary.
_KINDS: dict[str, tuple[Any, dict[str, Any], list[str]]] = {
    "bert": (BertModel, {"config": BertConfig(**_SIZES, **_USUAL, max_position_embeddings=80)}, ["token_type_ids"]),
    "distilbert": (DistilBertModel, {"config": DistilBertConfig(**_SIZES, **_FEW, max_position_embeddings=80)}, []),
    "mpnet": (MPNetModel, {"config": MPNetConfig(**_SIZES, **_USUAL, max_position_embeddings=82)}, []),
    "xlm-roberta": (
        XLMRobertaModel,
        {"config": XLMRobertaConfig(**_SIZES, **_USUAL, max_position_embeddings=82, type_vocab_size=1)},
        [],
    ),
}


def make(
    folder: Path,
    kind: str,
    pooling: str = "mean_tokens",
    *,
    dense: int = 0,
    normalize: bool = True,
    length: int = 48,
    prompts: dict[str, Any] | None = None,
) -> Path:
    """Write a model and give its folder.

    Args:
        kind: "bert", "distilbert", "mpnet" or "xlm-roberta"; the last has a Unigram vocabulary, as sentencepiece makes.
        pooling: as hubs name it, such as "cls_token".
        dense: size of the vectors after a dense module; 0 for none.
        prompts: what config_sentence_transformers.json holds.
    """
    _transformer(folder, kind, length)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    _write(folder / "1_Pooling/config.json", {"word_embedding_dimension": HIDDEN, f"pooling_mode_{pooling}": True})
    if dense:
        modules.append(("2_Dense", "Dense"))
        shape = {"in_features": HIDDEN, "out_features": dense, "bias": True}
        _write(folder / "2_Dense/config.json", {**shape, "activation_function": "torch.nn.modules.activation.Tanh"})
        weights = {"linear.weight": torch.randn(dense, HIDDEN), "linear.bias": torch.randn(dense)}
        save_file(weights, folder / "2_Dense/model.safetensors")
    if normalize:
        modules.append((f"{len(modules)}_Normalize", "Normalize"))
    kinds = [(path, f"sentence_transformers.models.{name}") for path, name in modules]
    listed = [{"idx": n, "name": str(n), "path": path, "type": name} for n, (path, name) in enumerate(kinds)]
    _write(folder / "modules.json", listed)
    if prompts is not None:
        _write(folder / "config_sentence_transformers.json", prompts)
    return folder


def _transformer(folder: Path, kind: str, length: int) -> None:
    torch.manual_seed(0)
    maker, arguments, inputs = _KINDS[kind]
    maker(**arguments).save_pretrained(folder)
    fast: Any = PreTrainedTokenizerFast
    fast(
        tokenizer_object=_unigram() if kind == "xlm-roberta" else _words(),
        model_max_length=length,
        model_input_names=["input_ids", "attention_mask", *inputs],
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
    ).save_pretrained(folder)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": length, "do_lower_case": False})


def _write(file: Path, content: Any) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")


_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def _words() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(SENTENCES, trainers.WordLevelTrainer(vocab_size=400, special_tokens=_SPECIAL))
    return _ends(tokenizer)


def _unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=_SPECIAL, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return _ends(tokenizer)


def _ends(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer

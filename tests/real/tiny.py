"""Makes the model of the tests with a real vLLM: a tiny Llama of random weights that takes chat, tools and thinking.

`python tiny.py FOLDER` with a Python that has torch and transformers. The weights are seeded, so the same texts give
the same model. What it says means nothing. Some of it is arranged: no layer writes to the first three units of the
hidden state, so that what they hold is known, and their columns of the output layer are biases.

- Unit 0 is set for every token. It makes digits likely, and blanks and the end of a text unlikely.
- Unit 1 is set for a line's end, with which chat prompts end. It makes a digit nearly sure.
- Unit 2 is set for the mark `<|assistant|>`. It makes a thought nearly sure. The template ends with that mark where a
  message says `detailed thinking on`, and then ignores `enable_thinking`, as some models' templates always do.

Beside the model stand two LoRA adapters, `jp` and `in`, that change its answers.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEXTS = sorted((Path(__file__).resolve().parents[2] / "knowledge" / "descriptions").glob("*.jsonl"))
SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|assistant|>",
    "<think>", "</think>", "<tool_call>", "</tool_call>",
)  # fmt: skip
DIGITS = "0123456789"
VOCABULARY, HIDDEN, LAYERS, HEADS, CONTEXT, RANK = 4096, 256, 4, 4, 4096, 8
LIKELY, UNLIKELY = 6.0, -20.0  # logits added to digits, and to special tokens and blanks
FIRST, THOUGHT = 6.0, 40.0  # logits added to digits at the beginning of an answer, and to `<think>` after its mark
ADAPTERS = ("jp", "in")
ALWAYS, LINE, MARK, KEPT = 0, 1, 2, 3  # units of the hidden state that no layer writes to, and how many they are
SET = 8.0  # value of such a unit where it is set; the other units begin near 1
LINE_END = "Ċ"  # as byte-level BPE writes it

# After Qwen3's: tools are listed, thinking of earlier turns is left out, and is off unless it is asked for.
TEMPLATE = """\
{%- if tools %}
{{- '<|im_start|>system\\n' }}
{%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
{{- 'Tools, one JSON object a line:\\n' }}
{%- for tool in tools %}{{- tool | tojson }}{{- '\\n' }}{%- endfor %}
{{- 'Call one by <tool_call>{"name": ..., "arguments": {...}}</tool_call><|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- set content = message.content if message.content is string else '' %}
{%- if message.role == 'assistant' %}
{%- if '</think>' in content %}{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}
{{- '<|im_start|>assistant\\n' + content }}
{%- for call in message.tool_calls or [] %}
{{- '<tool_call>{"name": "' + call.function.name + '", "arguments": ' }}
{{- call.function.arguments if call.function.arguments is string else call.function.arguments | tojson }}
{{- '}</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- elif not (loop.first and message.role == 'system') %}
{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{%- if 'detailed thinking on' in messages | map(attribute='content') | select('string') | join %}
{{- '<|im_start|><|assistant|>' }}
{%- else %}
{{- '<|im_start|>assistant\\n<think>\\n' }}
{%- if not (enable_thinking is defined and enable_thinking) %}{{- '\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}
{%- endif %}
"""


def sentences() -> Iterator[str]:
    """Give the texts that the tokenizer learns from: the descriptions of customs in this repository."""
    for path in TEXTS:
        for line in path.read_text(encoding="utf-8").splitlines():
            found = json.loads(line)
            yield from (found["id"], found["statement"], found.get("offends") or "", *found.get("questions", ()))


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Train a byte-level BPE in which every digit is one token, and so is each mark of a turn or of thinking."""
    made = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    made.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(sentences(), trainer)
    assert made.get_vocab_size() == VOCABULARY, "too little text to learn a vocabulary from"
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=made,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=TEMPLATE,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def make_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Make the model of random weights, with some units of its hidden state kept for biases."""
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        head_dim=HIDDEN // HEADS,
        max_position_embeddings=CONTEXT,
        initializer_range=0.08,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",  # greedy answers to one question are compared; half precision has ties
    )
    model = LlamaForCausalLM(config)
    weights = model.state_dict()
    weights["model.embed_tokens.weight"].normal_(0, 1)
    weights["lm_head.weight"].normal_(0, 0.15)
    for layer in range(LAYERS):
        weights[f"model.layers.{layer}.self_attn.o_proj.weight"][:KEPT] = 0
        weights[f"model.layers.{layer}.mlp.down_proj.weight"][:KEPT] = 0
    arrange(model, tokenizer)
    return model


def arrange(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Set the units of the hidden state that no layer writes to, and the logits that each of them adds."""
    weights, find = model.state_dict(), tokenizer.convert_tokens_to_ids
    said, head = weights["model.embed_tokens.weight"], weights["lm_head.weight"]
    digits, special = find(list(DIGITS)), find(list(SPECIAL))
    blank = [index for index in range(VOCABULARY) if str(tokenizer.decode([index])).isspace()]
    said[:, :KEPT] = 0
    said[:, ALWAYS] = SET
    said[find(LINE_END), LINE] = SET
    said[find("<|assistant|>"), MARK] = SET
    with torch.no_grad():
        left = model.model(torch.arange(len(SPECIAL), CONTEXT)[None]).last_hidden_state[..., ALWAYS].mean()
    head[:, :KEPT] = 0
    head[digits, ALWAYS] = LIKELY / left
    head[special, ALWAYS] = UNLIKELY / left
    head[blank, ALWAYS] = UNLIKELY / left  # else what is held to a JSON schema is padded without end
    head[digits, LINE] = FIRST / left
    head[find("<think>"), MARK] = THOUGHT / left


def write_adapter(folder: Path, seed: int) -> None:
    """Write a LoRA adapter in PEFT's format, of weights large enough to change every answer."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for layer in range(LAYERS):
        for name in ("q_proj", "v_proj"):
            prefix = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            weights[f"{prefix}.lora_A.weight"] = torch.randn(RANK, HIDDEN, generator=generator) * 0.2
            weights[f"{prefix}.lora_B.weight"] = torch.randn(HIDDEN, RANK, generator=generator) * 0.2
    folder.mkdir()
    save_file(
        {name: weight.to(torch.bfloat16) for name, weight in weights.items()}, folder / "adapter_model.safetensors"
    )
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "tiny",
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": ["q_proj", "v_proj"],
        "modules_to_save": None,
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")


def make(folder: Path) -> None:
    """Write everything into a folder, which is there only once all of it is."""
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
    unfinished.mkdir(parents=True)
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(unfinished)
    make_model(tokenizer).save_pretrained(unfinished)
    for seed, name in enumerate(ADAPTERS, 1):
        write_adapter(unfinished / name, seed)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


if __name__ == "__main__":
    make(Path(sys.argv[1]))

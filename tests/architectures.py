"""Tiny random models of the architectures that people bring, each with a tokenizer made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny import CHATML, _bpe, _save, _wordpiece

_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
READERS = ("bert", "roberta", "distilbert", "deberta", "modernbert")
DECODERS = ("gpt2", "llama", "qwen2", "qwen3", "gemma", "gemma3")
BOTH = ("t5", "bart")


def make(kind: str, folder: Path) -> Path:
    """Save a random network of two layers under ``folder`` and return it."""
    tokenizer: Any
    if kind in ("bert", "distilbert", "deberta", "modernbert"):
        tokenizer = _wordpiece()
    elif kind == "roberta":
        tokenizer = _bpe(bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>", cls_token="<s>", sep_token="</s>")  # fmt: skip
    elif kind == "gpt2":
        tokenizer = _bpe(bos_token="<|endoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>")
    elif kind in BOTH:
        tokenizer = _ending(_bpe(pad_token="<pad>", eos_token="</s>", unk_token="<unk>"))
    else:
        tokenizer = _bpe(bos_token="<s>", eos_token="</s>", pad_token="<pad>")
        tokenizer.chat_template = CHATML
    model_class, config = _MAKERS[kind](tokenizer)
    return _save(folder / kind, model_class, config, tokenizer)


def _ending(tokenizer: Any) -> Any:
    """Close every text with the end token, as T5 and BART do."""
    from tokenizers import processors

    end = (tokenizer.eos_token, tokenizer.eos_token_id)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end[0]}", pair=None, special_tokens=[end]
    )
    return tokenizer


def _ids(tokenizer: Any) -> dict[str, Any]:
    return {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id}  # fmt: skip


def _bert(tokenizer: Any) -> Any:
    from transformers import BertConfig, BertModel

    return BertModel, BertConfig(**_SMALL, vocab_size=len(tokenizer), max_position_embeddings=64)


def _roberta(tokenizer: Any) -> Any:
    from transformers import RobertaConfig, RobertaModel

    return RobertaModel, RobertaConfig(**_SMALL, **_ids(tokenizer), max_position_embeddings=66)


def _distilbert(tokenizer: Any) -> Any:
    from transformers import DistilBertConfig, DistilBertModel

    return DistilBertModel, DistilBertConfig(
        dim=32, n_layers=2, n_heads=4, hidden_dim=64, vocab_size=len(tokenizer), max_position_embeddings=64
    )


def _deberta(tokenizer: Any) -> Any:
    from transformers import DebertaV2Config, DebertaV2Model

    return DebertaV2Model, DebertaV2Config(
        **_SMALL, vocab_size=len(tokenizer), max_position_embeddings=64, relative_attention=True, position_buckets=16,
        pos_att_type=["p2c", "c2p"], share_att_key=True, norm_rel_ebd="layer_norm", position_biased_input=False,
    )  # fmt: skip


def _modernbert(tokenizer: Any) -> Any:
    from transformers import ModernBertConfig, ModernBertModel

    return ModernBertModel, ModernBertConfig(
        **_SMALL, vocab_size=len(tokenizer), max_position_embeddings=64, pad_token_id=0, cls_token_id=2, sep_token_id=3,
        bos_token_id=2, eos_token_id=3, global_attn_every_n_layers=2, local_attention=8,
    )  # fmt: skip


def _t5(tokenizer: Any) -> Any:
    from transformers import T5Config, T5ForConditionalGeneration

    return T5ForConditionalGeneration, T5Config(
        d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, vocab_size=len(tokenizer), decoder_start_token_id=tokenizer.pad_token_id,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip


def _bart(tokenizer: Any) -> Any:
    from transformers import BartConfig, BartForConditionalGeneration

    return BartForConditionalGeneration, BartConfig(
        d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64,
        decoder_ffn_dim=64, max_position_embeddings=64, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.eos_token_id, eos_token_id=tokenizer.eos_token_id, decoder_start_token_id=tokenizer.eos_token_id,
        forced_eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip


def _gpt2(tokenizer: Any) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel, GPT2Config(
        vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=128, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip


def _llama(tokenizer: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM, LlamaConfig(
        **_SMALL, **_ids(tokenizer), num_key_value_heads=2, max_position_embeddings=256
    )


def _qwen2(tokenizer: Any) -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return Qwen2ForCausalLM, Qwen2Config(
        **_SMALL, **_ids(tokenizer), num_key_value_heads=2, max_position_embeddings=256
    )


def _qwen3(tokenizer: Any) -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM, Qwen3Config(
        **_SMALL, **_ids(tokenizer), num_key_value_heads=2, head_dim=16, max_position_embeddings=256
    )


def _gemma(tokenizer: Any) -> Any:
    from transformers import GemmaConfig, GemmaForCausalLM

    return GemmaForCausalLM, GemmaConfig(
        **_SMALL, **_ids(tokenizer), num_key_value_heads=1, head_dim=8, max_position_embeddings=256
    )


def _gemma3(tokenizer: Any) -> Any:
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    return Gemma3ForCausalLM, Gemma3TextConfig(
        **_SMALL, **_ids(tokenizer), num_key_value_heads=1, head_dim=8, max_position_embeddings=256, sliding_window=16,
        layer_types=["sliding_attention", "full_attention"],
    )  # fmt: skip


_MAKERS = {
    "bert": _bert, "roberta": _roberta, "distilbert": _distilbert, "deberta": _deberta, "modernbert": _modernbert, "t5": _t5,
    "bart": _bart, "gpt2": _gpt2, "llama": _llama, "qwen2": _qwen2, "qwen3": _qwen3, "gemma": _gemma, "gemma3": _gemma3,
}  # fmt: skip

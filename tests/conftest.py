"""Tiny real models, made on the spot: random weights, real architectures, real tokenizers trained on a few sentences."""

from __future__ import annotations

import math
import os
from collections import Counter
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
if "PYTEST_XDIST_WORKER" in os.environ:  # one process a core: more threads would only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from tiny import CHATML, _bpe, _save, _wordpiece
from words import SENTENCES

EXAMPLES = Path(__file__).parents[1] / "examples"
SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip("notice: the public datasets are not beside the project (shared/data); this test reads them")
    return SHARED_DATA


@pytest.fixture(scope="session")
def wordpiece_tokenizer():
    """A tokenizer of a few words, as BERT's are."""
    return _wordpiece()


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers without dropout, so that runs can be compared number by number."""
    from transformers import BertConfig, BertModel

    tokenizer = _wordpiece()
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
                        max_position_embeddings=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)  # fmt: skip
    return _save(tmp_path_factory.mktemp("tiny") / "bert", BertModel, config, tokenizer)


@pytest.fixture(scope="session")
def tiny_roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import RobertaConfig, RobertaModel

    tokenizer = _bpe(
        bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>", cls_token="<s>", sep_token="</s>"
    )
    config = RobertaConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                           intermediate_size=64, max_position_embeddings=66, pad_token_id=tokenizer.pad_token_id,
                           hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)  # fmt: skip
    return _save(tmp_path_factory.mktemp("tiny") / "roberta", RobertaModel, config, tokenizer)


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers with a chat template that closes turns with <|im_end|> and a newline."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _bpe(bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    tokenizer.chat_template = CHATML
    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, intermediate_size=64, max_position_embeddings=256,
                         bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
                         pad_token_id=tokenizer.pad_token_id)  # fmt: skip
    return _save(tmp_path_factory.mktemp("tiny") / "llama", LlamaForCausalLM, config, tokenizer)


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of two layers: no chat template, no padding token, Conv1D layers, tied output."""
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = _bpe(bos_token="<|endoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>")
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=128, resid_pdrop=0.0, embd_pdrop=0.0,
                        attn_pdrop=0.0, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)  # fmt: skip
    return _save(tmp_path_factory.mktemp("tiny") / "gpt2", GPT2LMHeadModel, config, tokenizer)


@pytest.fixture(scope="session")
def tiny_qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2 of two layers: biases on queries and keys, no start token."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = _bpe(eos_token="<|endoftext|>", pad_token="<pad>")
    config = Qwen2Config(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, intermediate_size=64, max_position_embeddings=256, bos_token_id=None,
                         eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)  # fmt: skip
    return _save(tmp_path_factory.mktemp("tiny") / "qwen", Qwen2ForCausalLM, config, tokenizer)


@pytest.fixture(scope="session")
def tiny_mistral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Mistral of two layers whose attention looks back eight tokens."""
    from transformers import MistralConfig, MistralForCausalLM

    tokenizer = _bpe(bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    config = MistralConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                           num_key_value_heads=2, intermediate_size=64, max_position_embeddings=256, sliding_window=8,
                           bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
                           pad_token_id=tokenizer.pad_token_id)  # fmt: skip
    return _save(tmp_path_factory.mktemp("tiny") / "mistral", MistralForCausalLM, config, tokenizer)


@pytest.fixture(scope="session")
def tiny_gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Gemma 2 of two layers: one looks at a sliding window of 16 tokens; scores are capped."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    tokenizer = _bpe(bos_token="<bos>", eos_token="<eos>", pad_token="<pad>")
    config = Gemma2Config(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                          num_key_value_heads=2, head_dim=8, intermediate_size=64, max_position_embeddings=256,
                          sliding_window=16, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
                          pad_token_id=tokenizer.pad_token_id)  # fmt: skip
    return _save(tmp_path_factory.mktemp("tiny") / "gemma", Gemma2ForCausalLM, config, tokenizer)


@pytest.fixture(scope="session")
def tiny_bert_mlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers with its output layer for masked words."""
    from transformers import BertConfig, BertForMaskedLM

    tokenizer = _wordpiece()
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
                        max_position_embeddings=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)  # fmt: skip
    return _save(tmp_path_factory.mktemp("tiny") / "bert-mlm", BertForMaskedLM, config, tokenizer)


@pytest.fixture(scope="session")
def tiny_bert_decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers that looks left only: no rotary positions, and layers between its blocks and its tied output layer."""
    from transformers import BertConfig, BertLMHeadModel

    tokenizer = _bpe(bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    tokenizer.chat_template = CHATML
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
                        max_position_embeddings=128, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, is_decoder=True,
                        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
                        pad_token_id=tokenizer.pad_token_id)  # fmt: skip
    return _save(tmp_path_factory.mktemp("tiny") / "bert-decoder", BertLMHeadModel, config, tokenizer)


@pytest.fixture(scope="session")
def tiny_roberta_mlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RoBERTa of two layers with its output layer for masked words; its tokenizer writes <s> and </s> around a text."""
    from tokenizers import processors
    from transformers import RobertaConfig, RobertaForMaskedLM

    tokenizer = _bpe(bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>", mask_token="<mask>")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(n, tokenizer.convert_tokens_to_ids(n)) for n in ("<s>", "</s>")]
    )
    config = RobertaConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                           intermediate_size=64, max_position_embeddings=66, pad_token_id=tokenizer.pad_token_id,
                           hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)  # fmt: skip
    return _save(tmp_path_factory.mktemp("tiny") / "roberta-mlm", RobertaForMaskedLM, config, tokenizer)


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 of two layers: positions as differences, tied and scaled output, a tokenizer that ends every text with </s>."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    cut = pre_tokenizers.Metaspace()
    # By hand, for the library's trainer does not give the same model twice.
    words = Counter(word for text in SENTENCES for word, _ in cut.pre_tokenize_str(text))
    letters = sorted({letter for word in words for letter in word} | set("0123456789+="))
    common = sorted(words.items(), key=lambda item: (-item[1], item[0]))[: 300 - 3 - len(letters)]
    total = sum(words.values())
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((letter, -10.0) for letter in letters)]
    pieces += [(word, math.log(count / total)) for word, count in common if len(word) > 1]
    core = Tokenizer(models.Unigram(pieces, unk_id=2))
    core.pre_tokenizer, core.decoder = cut, decoders.Metaspace()
    core.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=128
    )
    config = T5Config(vocab_size=len(tokenizer) + 5, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
                      dropout_rate=0.0, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)  # fmt: skip
    return _save(tmp_path_factory.mktemp("tiny") / "t5", T5ForConditionalGeneration, config, tokenizer)


@pytest.fixture(scope="session")
def tiny_bart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BART of two layers: learned positions, decoders start with </s>, texts stand between <s> and </s>."""
    from tokenizers import processors
    from transformers import BartConfig, BartForConditionalGeneration

    tokenizer = _bpe(bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>", mask_token="<mask>")
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in ("<s>", "<pad>", "</s>")}
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(name, ids[name]) for name in ("<s>", "</s>")]
    )
    config = BartConfig(vocab_size=len(tokenizer), d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
                        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=128, dropout=0.0,
                        bos_token_id=ids["<s>"], pad_token_id=ids["<pad>"], eos_token_id=ids["</s>"],
                        decoder_start_token_id=ids["</s>"], forced_eos_token_id=None)  # fmt: skip
    return _save(tmp_path_factory.mktemp("tiny") / "bart", BartForConditionalGeneration, config, tokenizer)

"""Make a tokenizer and three starts for the generator: ``python -m recipes.luthier_base.start CORPUS OUT``.

``OUT/scratch`` and ``OUT/scratch-small``: Llamas with random weights. ``OUT/minilm``: the embedded MiniLM turned into a decoder: its six layers with
causal attention, its output layer, and for each new token the mean of the vectors of the word pieces that MiniLM's own
tokenizer would have read there. All have the same byte-level BPE of 8,192 tokens, trained on the corpus.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VOCABULARY, POSITIONS = 8192, 1024
END, USER, ASSISTANT, SYSTEM, PAD = "<|end|>", "<|user|>", "<|assistant|>", "<|system|>", "<|pad|>"
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
# Width, layers, heads and inner width: one that costs as much a token as MiniLM, and one that reads twice as many in the time.
SCRATCH = {"scratch": (384, 6, 6, 1024), "scratch-small": (256, 6, 4, 688)}


def lines_of(corpus: Path) -> Iterator[str]:
    for name in ("text", "chat"):
        with (corpus / name / "train.jsonl").open(encoding="utf-8") as handle:
            for number, line in enumerate(handle):
                if number % 4:
                    continue
                row = json.loads(line)
                yield row.get("text") or row["messages"][-1]["content"]


def tokenizer_of(corpus: Path) -> Any:
    """Return a byte-level BPE tokenizer trained on a quarter of the rows."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    # Digits one by one: numbers are copied more often than they are known.
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[PAD, END, USER, ASSISTANT, SYSTEM], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    bpe.train_from_iterator(lines_of(corpus), trainer)
    found = PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token=PAD, eos_token=END, bos_token=END, additional_special_tokens=[USER, ASSISTANT, SYSTEM],
        model_max_length=POSITIONS, clean_up_tokenization_spaces=False,
    )  # fmt: skip
    found.chat_template = TEMPLATE
    return found


def scratch(tokenizer: Any, size: tuple[int, int, int, int]) -> Any:
    """Return a Llama of this width, layers, heads and inner width with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    width, layers, heads, inner = size
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=heads, max_position_embeddings=POSITIONS, rms_norm_eps=1e-5, tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    ))  # fmt: skip


def from_minilm(tokenizer: Any) -> Any:
    """Return MiniLM as a decoder that reads and writes the tokens of ``tokenizer``."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertLMHeadModel, BertModel

    from luthier.models.catalogue import find

    folder = str(find("embedded").folder)
    old, theirs = AutoTokenizer.from_pretrained(folder), BertModel.from_pretrained(folder, add_pooling_layer=False)
    config = BertConfig.from_pretrained(folder)
    config.update({
        "vocab_size": len(tokenizer), "is_decoder": True, "architectures": ["BertLMHeadModel"], "tie_word_embeddings": True,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    })  # fmt: skip
    torch.manual_seed(0)
    network = BertLMHeadModel(config)
    state = theirs.state_dict()
    words = state.pop("embeddings.word_embeddings.weight")
    network.bert.load_state_dict(state, strict=False)
    with torch.no_grad():
        table = network.bert.embeddings.word_embeddings.weight
        for token in range(len(tokenizer)):
            text = tokenizer.decode([token]).strip()
            ids = old(text, add_special_tokens=False)["input_ids"] if text and token not in tokenizer.all_special_ids else []
            known = [i for i in ids if i != old.unk_token_id]
            table[token] = words[known].mean(0) if known else words[old.unk_token_id] + 0.02 * torch.randn(words.shape[1])
    network.tie_weights()
    return network


def main() -> None:
    """Write all starts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    tokenizer = tokenizer_of(asked.corpus)
    made = {**{name: scratch(tokenizer, size) for name, size in SCRATCH.items()}, "minilm": from_minilm(tokenizer)}
    for name, network in made.items():
        # MiniLM's positions are learnt ones, and end earlier.
        tokenizer.model_max_length = network.config.max_position_embeddings
        network.save_pretrained(asked.out / name)
        tokenizer.save_pretrained(asked.out / name)
        print(f"{asked.out / name}: {sum(p.numel() for p in network.parameters()):,} parameters")


if __name__ == "__main__":
    main()

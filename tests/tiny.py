"""What tiny real models are made of: tokenizers trained on a few sentences, and a way to save random weights."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from words import SENTENCES

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _bpe(**special: str):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    extra = [*special.values(), "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=extra, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    core.train_from_iterator(SENTENCES * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, **special)


def _wordpiece():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    normalise, cut = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    # The library's own trainer breaks ties by chance: every session would test another model.
    words = Counter(word for text in SENTENCES for word, _ in cut.pre_tokenize_str(normalise.normalize_str(text)))
    letters = sorted({letter for word in words for letter in word})
    pieces = [*names, *letters, *(f"##{letter}" for letter in letters)]
    pieces += [w for w, _ in sorted(words.items(), key=lambda item: (-item[1], item[0])) if len(w) > 1][: 300 - len(pieces)]
    core = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    core.normalizer, core.pre_tokenizer = normalise, cut
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(n, core.token_to_id(n)) for n in ("[CLS]", "[SEP]")]
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
                                   sep_token="[SEP]", mask_token="[MASK]")  # fmt: skip


def _save(folder: Path, model_class: type, config: object, tokenizer: object) -> Path:
    import torch

    torch.manual_seed(0)
    model_class(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)  # type: ignore[attr-defined]
    return folder

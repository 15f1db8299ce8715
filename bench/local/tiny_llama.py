"""stories260K, a Llama of 260,032 parameters (karpathy/llama2.c), as a folder that transformers opens.

``python -m bench.local tiny_llama OUT`` reads ``models/llama2c_stories260K`` beside the datasets and writes a model with
safetensors and a tokenizer. The tokenizer is tok512's SentencePiece BPE: 512 pieces with scores, of which the highest is
merged first, a space before the text, and bytes for what no piece covers.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

CONTEXT = 512
_NAMES = ("dim", "hidden", "layers", "heads", "kv_heads", "vocabulary", "context")
_WRITTEN = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
_HEROES = "lily|tim|timmy|tom|max|ben|mia|sue|sam|lucy|spot|jack|anna|sara|bob|billy|mommy|daddy"


def write(data: Path, out: Path) -> list[Path]:
    """Write the model's folder, and check it on stories in the words of its training."""
    from transformers import logging

    logging.disable_progress_bar()
    source = data.parent / "models" / "llama2c_stories260K"
    network = _network(source / "stories260K.bin")
    tokenizer = _tokenizer(source / "tok512.bin")
    network.save_pretrained(out)
    tokenizer.save_pretrained(out)
    _check(out, data / "tinystories_sample" / "tinystories.txt.gz")
    return sorted(out.iterdir())


def _network(path: Path) -> Any:
    """Return the Llama of a llama2.c version-0 file: seven int32, then the weights, layers of one kind together."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    raw = path.read_bytes()
    head = dict(zip(_NAMES, struct.unpack("7i", raw[:28]), strict=True))
    numbers = np.frombuffer(raw, dtype="<f4", offset=28)
    dim, hidden, layers = head["dim"], head["hidden"], head["layers"]
    wide = dim * head["kv_heads"] // head["heads"]
    at = 0

    def take(*shape: int) -> Any:
        nonlocal at
        count = math.prod(shape)
        at += count
        return torch.from_numpy(numbers[at - count : at].reshape(shape).copy())

    state = {"model.embed_tokens.weight": take(head["vocabulary"], dim)}
    parts = [
        ("input_layernorm", (dim,)), ("self_attn.q_proj", (dim, dim)), ("self_attn.k_proj", (wide, dim)),
        ("self_attn.v_proj", (wide, dim)), ("self_attn.o_proj", (dim, dim)), ("post_attention_layernorm", (dim,)),
        ("mlp.gate_proj", (hidden, dim)), ("mlp.down_proj", (dim, hidden)), ("mlp.up_proj", (hidden, dim)),
    ]  # fmt: skip
    for name, shape in parts:
        for layer, weight in enumerate(take(layers, *shape)):
            state[f"model.layers.{layer}.{name}.weight"] = weight
    for name in list(state):
        # llama2.c turns neighbouring pairs of a head, transformers the two halves.
        if "q_proj" in name or "k_proj" in name:
            heads = head["heads"] if "q_proj" in name else head["kv_heads"]
            state[name] = state[name].view(heads, -1, 2, dim).transpose(1, 2).reshape(-1, dim)
    state["model.norm.weight"] = take(dim)
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    config = LlamaConfig(
        vocab_size=head["vocabulary"], hidden_size=dim, intermediate_size=hidden, num_hidden_layers=layers,
        num_attention_heads=head["heads"], num_key_value_heads=head["kv_heads"], max_position_embeddings=CONTEXT,
        rms_norm_eps=1e-5, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    network = LlamaForCausalLM(config)
    network.load_state_dict(state)
    return network.eval()


def _tokenizer(path: Path) -> Any:
    """Return tok512 as a fast tokenizer: merges in the order of the pieces' scores, as SentencePiece applies them."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = _pieces(path)
    vocabulary = {piece: number for number, (piece, _) in enumerate(pieces)}
    merges = []
    for piece, score in pieces[259:]:
        for cut in range(1, len(piece)):
            if piece[:cut] in vocabulary and piece[cut:] in vocabulary:
                merges.append((-score, vocabulary[piece[:cut]], piece[:cut], piece[cut:]))
    merges.sort(key=lambda m: m[:2])
    core = Tokenizer(
        models.BPE(vocabulary, [(left, right) for _, _, left, right in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )  # fmt: skip
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in ("<unk>", "<s>", "</s>")])
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>",
        model_max_length=CONTEXT,
    )  # fmt: skip


def _pieces(path: Path) -> list[tuple[str, float]]:
    """Return text and score of each piece of a llama2.c tokenizer, in the names that SentencePiece gives them."""
    raw, at, found = path.read_bytes(), 4, []
    while at < len(raw):
        score, length = struct.unpack("fi", raw[at : at + 8])
        found.append((raw[at + 8 : at + 8 + length], score))
        at += 8 + length
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    return [*((name, 0.0) for name in names), *((t.decode("utf-8").replace(" ", "▁"), s) for t, s in found[259:])]


def _check(folder: Path, stories: Path) -> None:
    """Raise ValueError unless the model writes what its author shows and finds stories about as likely as he says.

    That is 1.30 nats a token (doc/stories260K.md of karpathy/llama2.c @ 350e04f). The stories here are lower-cased, which
    it has never seen, so sentences get their capital letters back; not every name does.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    network = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    made = network.generate(torch.tensor([[1]]), max_new_tokens=60, do_sample=False)
    if not tokenizer.decode(made[0], skip_special_tokens=True).startswith(_WRITTEN):
        raise ValueError("the model does not write what its author shows")
    with gzip.open(stories, "rt", encoding="utf-8") as handle:
        text = handle.read(60_000)
    nats = tokens = 0.0
    for story in map(cased, stories_in(text)[:40]):
        ids = torch.tensor([tokenizer(story)["input_ids"][:CONTEXT]])
        if tokenizer.decode(ids[0], skip_special_tokens=True) not in story:
            raise ValueError("the tokenizer does not give its text back")
        with torch.no_grad():
            nats += float(network(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
        tokens += ids.shape[1] - 1
    print(
        json.dumps(
            {"parameters": sum(p.numel() for p in network.parameters()), "nats_a_token": round(nats / tokens, 4)}
        )
    )
    if not nats / tokens < 1.7:
        raise ValueError(f"{nats / tokens:.3f} nats a token: the conversion is wrong")


def stories_in(text: str) -> list[str]:
    """Return the stories of the sample: one begins where a line follows another without a blank one between."""
    found: list[list[str]] = []
    before = ""
    for line in text.splitlines():
        if line and (before or not found):
            found.append([])
        if found:
            found[-1].append(line)
        before = line
    return ["\n".join(lines).strip() for lines in found]


def cased(text: str) -> str:
    """Return a lower-cased story as it is usually written: sentences, "I" and the commonest heroes with capital letters."""
    text = re.sub(r"(^|[.!?]['\"]?\s+['\"]?|['\"](?=\w))([a-z])", lambda m: m[1] + m[2].upper(), text)
    return re.sub(rf"\b({_HEROES}|i)\b", lambda m: m[1].capitalize(), text)

"""Open a base model: configuration checked, tokenizer and network from safetensors, nothing executed from the folder."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
import transformers
from safetensors import SafetensorError
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTextEncoding,
    AutoModelForTokenClassification,
    AutoTokenizer,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
)

from luthier.base.errors import ModelError, did_you_mean
from luthier.models import columns
from luthier.models.catalogue import Found

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

# Keys of a configuration that name code or kernels to fetch and run. They are dropped before the configuration is built.
_FORBIDDEN_KEYS = ("auto_map", "custom_pipelines", "trust_remote_code", "_attn_implementation", "attn_implementation",
                   "_attn_implementation_internal", "_experts_implementation", "experts_implementation", "kernel_config",
                   "quantization_config")  # fmt: skip
_ENCODER_LIMIT, _DECODER_LIMIT = 512, 1024
SEQ2SEQ = MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES


@dataclass(frozen=True)
class Base:
    """An opened base model's configuration and tokenizer; networks are made of it by the ``open_*`` functions."""

    found: Found
    config: Any
    tokenizer: Any
    max_tokens: int
    pooling: str | None
    # Networks are built with so many layers and without weights, to be counted and not to be used.
    hollow: int | None = None

    @property
    def decodes(self) -> bool:
        """Whether it is a decoder: one network that reads and writes from left to right."""
        if self.writes_from_encoder:
            return False
        return self.config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not _is_masked(self.config)

    @property
    def writes_from_encoder(self) -> bool:
        """Whether it is an encoder-decoder (T5, BART): one part reads, the other writes what it has read."""
        return bool(getattr(self.config, "is_encoder_decoder", False)) and self.config.model_type in SEQ2SEQ


def _is_masked(config: Any) -> bool:
    names = " ".join(config.architectures or ())
    return any(word in names for word in ("MaskedLM", "BertModel", "RobertaModel")) or (
        config.model_type
        in {"bert", "roberta", "xlm-roberta", "electra", "camembert", "xlm", "rembert", "ernie", "data2vec-text"}
        and not getattr(config, "is_decoder", False)
    )


def open_base(found: Found, *, max_tokens: int | None = None) -> Base:
    """Read configuration and tokenizer of a model folder.

    Raises:
        ModelError: an unknown architecture, a damaged configuration, a tokenizer that cannot be read, or ``max_tokens``
            beyond what the model was built for.
    """
    config = _config(found)
    tokenizer = _tokenizer(found)
    own_limit = _limit(config, tokenizer)
    if max_tokens is not None and own_limit is not None and max_tokens > own_limit:
        raise ModelError(
            f"{found.name} takes at most {own_limit} tokens, {max_tokens} are asked for",
            where="model.max_tokens",
            mend=f"Set it to {own_limit} or less.",
        )
    base = Base(found, config, tokenizer, 0, _pooling(found.folder))
    usual = _DECODER_LIMIT if base.decodes else _ENCODER_LIMIT
    return Base(found, config, tokenizer, max_tokens or min(usual, own_limit or usual), base.pooling)


def _config(found: Found) -> Any:
    path = found.folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        kind = values["model_type"]
    except (ValueError, KeyError, TypeError):
        raise ModelError("the model's config.json cannot be read or names no model_type", where=str(path)) from None
    if kind not in CONFIG_MAPPING:
        raise ModelError(
            f'transformers {transformers.__version__} has no architecture "{kind}"',
            where=str(path),
            mend=did_you_mean(kind, CONFIG_MAPPING.keys())
            or "Luthier runs no code from model folders; choose another base.",
        )
    return CONFIG_MAPPING[kind].from_dict({k: v for k, v in values.items() if k not in _FORBIDDEN_KEYS})


def _tokenizer(found: Found) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(found.folder), trust_remote_code=False, local_files_only=True)
    except Exception as error:  # the library raises many kinds here, all of them about the user's folder
        raise ModelError(
            f"the tokenizer of {found.name} cannot be read ({str(error).splitlines()[0][:200] if str(error) else type(error).__name__})",
            where=str(found.folder),
            mend="The folder needs tokenizer.json, or the vocabulary files of a known tokenizer.",
        ) from None
    if tokenizer.pad_token_id is None and tokenizer.eos_token_id is not None:
        # Padding is always masked, so any token serves; the learnt end token stays learnt because the mask decides, not the id.
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _limit(config: Any, tokenizer: Any) -> int | None:
    limits = [n for n in (positions(config),) if n is not None]
    if tokenizer.model_max_length and tokenizer.model_max_length < 1_000_000:
        limits.append(int(tokenizer.model_max_length))
    return min(limits) if limits else None


def positions(config: Any) -> int | None:
    """Return how many tokens an architecture has positions for; None where it counts none."""
    found = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if not isinstance(found, int) or found <= 0:
        return None
    # RoBERTa and its kin number positions from padding_idx + 1, so two of them are never used.
    offset = 2 if "roberta" in config.model_type or config.model_type in {"camembert", "data2vec-text"} else 0
    return found - offset


def _pooling(folder: Path) -> str | None:
    """Return ``mean`` or ``cls`` where a sentence-transformers configuration says how tokens become one vector."""
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return None
    values = json.loads(path.read_text(encoding="utf-8"))
    if values.get("pooling_mode_mean_tokens"):
        return "mean"
    return "cls" if values.get("pooling_mode_cls_token") else None


def open_encoder(base: Base) -> torch.nn.Module:
    """Return the bare network whose ``last_hidden_state`` is (B, T, D)."""
    extra = {"add_pooling_layer": False} if base.config.model_type in {"bert", "roberta", "xlm-roberta"} else {}
    # T5's decoder cannot run without an answer to decode; its encoder alone is a network of its own.
    family = AutoModelForTextEncoding if base.config.model_type in {"t5", "mt5", "umt5"} else AutoModel

    def bare() -> Any:
        return _open(family, base, base.config, **extra)

    return columns.reopen(bare(), base.found.folder, again=bare)


def open_classifier(base: Base, labels: tuple[str, ...]) -> torch.nn.Module:
    """Return the model's own sequence classifier with a new head for ``labels``."""
    if base.config.model_type not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        raise ModelError(
            f"{base.found.name} ({base.config.model_type}) has no classification head of its own",
            where="model.pooling",
            mend="Set model.pooling: mean.",
        )
    config = type(base.config).from_dict(base.config.to_dict())
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = base.tokenizer.pad_token_id
    return _open(AutoModelForSequenceClassification, base, config, ignore_mismatched_sizes=True)


def open_decoder(base: Base) -> torch.nn.Module:
    """Return the causal language model."""
    if not base.decodes:
        raise ModelError(
            f"{base.found.name} ({base.config.model_type}) reads text but does not write it",
            where="model.base",
            mend="Writing needs a decoder (Llama, Qwen, GPT-2) or an encoder-decoder (T5, BART); give its folder or hub name.",
        )
    return _open(AutoModelForCausalLM, base, base.config)


def open_seq2seq(base: Base) -> torch.nn.Module:
    """Return the encoder-decoder with its output layer."""
    return _open(AutoModelForSeq2SeqLM, base, base.config)


def open_masked(base: Base, *, where: str) -> torch.nn.Module:
    """Return the masked language model; ``where`` names the setting that asked for it.

    Raises:
        ModelError: the architecture or these weights have no output layer for masked words.
    """
    mend = "Name a masked language model such as bert-base-multilingual-cased, or its folder."
    return _open_whole(AutoModelForMaskedLM, MODEL_FOR_MASKED_LM_MAPPING_NAMES, base, "for masked words", where, mend)


def open_tagger(base: Base, *, where: str) -> torch.nn.Module:
    """Return the token classifier with its trained head; ``where`` names the setting that asked for it.

    Raises:
        ModelError: the architecture or these weights have no output layer for tokens.
    """
    mend = "Name a token-classification model that was trained to find people, or its folder."
    names = MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES
    return _open_whole(AutoModelForTokenClassification, names, base, "that labels tokens", where, mend)


def _open_whole(family: Any, names: Any, base: Base, layer: str, where: str, mend: str) -> torch.nn.Module:
    """Open a model whose output layer has weights of its own: drawn at random, it would answer at random."""
    if base.config.model_type in names:
        network, told = _open(family, base, base.config, output_loading_info=True)
        if not (told["missing_keys"] or told["mismatched_keys"]):
            return network
    what = f"{base.found.name} ({base.config.model_type}) has no output layer {layer}"
    raise ModelError(what, where=where, mend=mend)


def _open(family: Any, base: Base, config: Any, **extra: Any) -> Any:
    if base.hollow is not None:
        bare = _hollow(family, base.hollow, config, extra.get("add_pooling_layer"))
        return (bare, {"missing_keys": [], "mismatched_keys": []}) if extra.get("output_loading_info") else bare
    try:
        network = family.from_pretrained(
            str(base.found.folder),
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            dtype=torch.float32,
            attn_implementation=_attention(base.config.model_type, family),
            **extra,
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ModelError(
            f"the weights of {base.found.name} cannot be loaded ({str(error).splitlines()[0][:200] if str(error) else type(error).__name__})",
            where=str(base.found.folder),
            mend="Are the files whole, and made for this architecture?",
        ) from None
    (network[0] if isinstance(network, tuple) else network).config.use_cache = False
    return network


def _hollow(family: Any, layers: int, config: Any, pooler: bool | None) -> Any:
    """Return a network of an architecture with so many layers; what its weights are is left open, and mostly they take no memory."""
    config = type(config).from_dict(config.to_dict())
    for name in ("num_hidden_layers", "num_layers", "num_decoder_layers", "encoder_layers", "decoder_layers"):
        if isinstance(getattr(config, name, None), int):
            setattr(config, name, layers)
    if isinstance(getattr(config, "layer_types", None), list):
        config.layer_types = config.layer_types[:layers]
    extra = {} if pooler is None else {"add_pooling_layer": pooler}
    with torch.device("meta"):
        network = family.from_config(config, dtype=torch.float32, attn_implementation=_attention(config.model_type, family), **extra)
    network = network.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            # Large ones come as untouched pages, which are zero and stay so.
            if tensor.numel() < 1 << 23:
                tensor.zero_()
    network.tie_weights()
    network.config.use_cache = False
    return network


def _attention(model_type: str, family: Any) -> str:
    """Return ``sdpa`` where the architecture has it: never a kernel fetched by name."""
    config_class = CONFIG_MAPPING[model_type]
    try:
        network_class = family._model_mapping[config_class]
    except KeyError:
        return "eager"
    network_class = network_class[0] if isinstance(network_class, tuple | list) else network_class
    return "sdpa" if getattr(network_class, "_supports_sdpa", False) else "eager"


def device() -> torch.device:
    """Return the device that networks run on here."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@lru_cache(maxsize=4)
def quick_in_bfloat16(where: torch.device) -> bool:
    """Whether a device multiplies matrices of bfloat16 faster than of float32: GPUs since Ampere, CPUs with AMX.

    Other CPUs take bfloat16 too, and many times longer.
    """
    if where.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return where.type == "cpu" and bool(torch.cpu._is_amx_tile_supported())


def moved(tensor: torch.Tensor, where: torch.device) -> torch.Tensor:
    """Return a tensor made on the host, on a device; from pinned memory a GPU fetches it while the host goes on."""
    if where.type == "cpu":
        return tensor
    return (tensor.pin_memory() if where.type == "cuda" else tensor).to(where, non_blocking=True)

"""What peft puts on a network: low-rank updates, scaling vectors, learnt prompts and prefixes."""

from __future__ import annotations

import warnings
from typing import Any

from peft import IA3Config, LoraConfig, PeftConfig, PeftModel, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from torch import nn

from luthier.base.errors import ModelError
from luthier.models.adapters import feed_forward_output
from luthier.models.freeze import blocks, heads
from luthier.models.low_rank import use_one_pass
from luthier.models.virtual import changes_output, check_room, shape_of_keys
from luthier.spec.train import TrainSection

# Names of key and value projections over the architectures; some pack them with the query in one matrix.
_KEYS_AND_VALUES = frozenset((
    "key", "value", "k_proj", "v_proj", "k_lin", "v_lin", "key_proj", "value_proj", "k", "v", "Wqkv", "c_attn", "in_proj",
    "query_key_value", "qkv_proj", "qkv", "query_key_value_proj",
))  # fmt: skip


def lora(network: nn.Module, train: TrainSection, head_names: tuple[str, ...]) -> nn.Module:
    """Return the network with low-rank updates; it computes the same until they have learnt.

    Raises:
        ModelError: targets that the network does not have.
    """
    spec = train.lora
    config = LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,  # type: ignore[arg-type]
        lora_dropout=spec.dropout,
        target_modules=spec.targets if isinstance(spec.targets, list) else lora_targets(network, head_names),
        modules_to_save=list(head_names) or None,
        bias="none",
        use_rslora=spec.variant == "rslora",
        use_dora=spec.variant == "dora",
    )
    try:
        wrapped = _wrap(network, config)
    except ValueError as error:
        linear = sorted({name.split(".")[-1] for name, m in network.named_modules() if isinstance(m, nn.Linear)})
        raise ModelError(
            f"LoRA cannot be put on {spec.targets} ({str(error).splitlines()[0][:120]})",
            where="train.lora.targets",
            mend=f"Linear modules of this model: {', '.join(linear)}.",
        ) from None
    use_one_pass(wrapped)
    return wrapped


def lora_targets(network: nn.Module, head_names: tuple[str, ...] = ()) -> list[str]:
    """Return the full names of every linear layer inside the transformer blocks (GPT-2's Conv1D counts as one)."""
    inside = {id(m) for block in blocks(network) for m in block.modules()}
    return [
        name
        for name, module in network.named_modules()
        if id(module) in inside and _is_linear(module) and name not in head_names
    ]


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def ia3(network: nn.Module, train: TrainSection, head_names: tuple[str, ...]) -> nn.Module:
    """Return the network with a learnt factor on keys, values and feed-forward activations (Liu et al. 2022, https://arxiv.org/abs/2205.05638).

    Raises:
        ModelError: no module here is named as keys and values usually are.
    """
    layers = blocks(network)
    inside = {id(m) for block in layers for m in block.modules()}
    outputs = {id(feed_forward_output(block)) for block in layers}
    places = [(name, m) for name, m in network.named_modules() if id(m) in inside and _is_linear(m)]
    scaled = [name for name, _ in places if name.split(".")[-1] in _KEYS_AND_VALUES]
    fed = [name for name, module in places if id(module) in outputs]
    if not scaled:
        linear = sorted({name.split(".")[-1] for name, _ in places})
        raise ModelError(
            f"IA3 finds no key and value projections among the linear modules of this model ({', '.join(linear)})",
            where="train.method",
            mend="Use lora, which goes on any linear layer, or adapters.",
        )
    config = IA3Config(
        target_modules=[*scaled, *fed], feedforward_modules=fed, modules_to_save=list(head_names) or None
    )
    return _wrap(network, config)


def prompt(network: Any, train: TrainSection, head_names: tuple[str, ...]) -> nn.Module:
    """Return the network with learnt vectors in front of every input; they start as those of random words.

    Raises:
        ModelError: the architecture takes no vectors in the place of words.
    """
    config = PromptTuningConfig(
        task_type=_task(network), num_virtual_tokens=train.prompt.tokens, prompt_tuning_init="SAMPLE_VOCAB",
        num_transformer_submodules=1, **{**shape_of_keys(network), "token_dim": network.get_input_embeddings().embedding_dim},
    )  # fmt: skip
    return _learnt_input(network, config, head_names, "prompt tuning")


def prefix(network: nn.Module, train: TrainSection, head_names: tuple[str, ...]) -> nn.Module:
    """Return the network with learnt keys and values in front of those of every layer.

    Raises:
        ModelError: the architecture takes no past keys and values.
    """
    shape: Any = shape_of_keys(network)
    config = PrefixTuningConfig(
        task_type=_task(network), num_virtual_tokens=train.prompt.tokens, num_transformer_submodules=1, **shape
    )
    return _learnt_input(network, config, head_names, "prefix tuning")


def _task(network: Any) -> str:
    # A classifier's outputs are passed through as they are, so it counts as a feature extractor: peft's own class for
    # classifiers knows fewer architectures and copies the head.
    return "CAUSAL_LM" if network.can_generate() else "FEATURE_EXTRACTION"


def _learnt_input(network: Any, config: PeftConfig, head_names: tuple[str, ...], what: str) -> nn.Module:
    check_room(network, config.num_virtual_tokens)  # type: ignore[attr-defined]
    kind = network.config.model_type
    wrapped, reason = None, "the architecture does not look at it"
    try:
        wrapped = _wrap(network, config)
        taken = changes_output(wrapped)
    except (ValueError, TypeError, RuntimeError, AttributeError, LookupError) as error:
        taken, reason = False, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}"
    if wrapped is None or not taken:
        raise ModelError(
            f"{what} cannot be put on {kind} ({reason})",
            where="train.method",
            mend="Use lora, ia3 or adapters, which every architecture takes.",
        )
    heads(wrapped.get_base_model(), head_names)
    return wrapped


def _wrap(network: Any, config: PeftConfig) -> Any:
    with warnings.catch_warnings():
        # peft corrects fan_in_fan_out for GPT-2 by itself and transformers announces a renamed property: nothing to act on.
        warnings.simplefilter("ignore")
        return get_peft_model(network, config)


def reopen(network: nn.Module, folder: str) -> nn.Module:
    """Return the network with a saved prompt or prefix in front."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened: nn.Module = PeftModel.from_pretrained(network, folder, is_trainable=False)
    return opened

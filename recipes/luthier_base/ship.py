"""Write a trained bundle as the model that comes with Luthier: ``python -m recipes.luthier_base.ship BUNDLE [OUT]``.

The weights become float16, which halves the file; what both say of some pages of
the documentation is compared. The hash it prints belongs into ``luthier/models/catalogue.py``.
What is left out: adapters, heads, the run's own records. The card beside it is written by hand (``luthier_base/README.md``).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import shutil
from pathlib import Path
from typing import Any

HERE = Path(__file__).parents[2] / "luthier" / "models" / "luthier_base"
GUIDES = Path(__file__).parents[2] / "docs" / "guides"
MOST_BYTES = 50_000_000
_KEPT = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")


def surprise(network: Any, tokenizer: Any, texts: list[str]) -> float:
    """Return the mean nats for each token of some texts."""
    import torch

    total, count = 0.0, 0
    with torch.no_grad():
        for text in texts:
            ids = torch.tensor([tokenizer(text)["input_ids"][:512]])
            loss = network(input_ids=ids, labels=ids).loss
            total, count = total + float(loss) * (ids.shape[1] - 1), count + ids.shape[1] - 1
    return total / count


def ship(bundle: Path, out: Path) -> None:
    """Write the folder; refuses more than 50 MB, and weights that float16 cannot hold."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = bundle / "network"
    state = load_file(source / "model.safetensors")
    half = {name: value.to(torch.float16).contiguous() for name, value in state.items()}
    if not all(bool(torch.isfinite(value).all()) for value in half.values()):
        raise SystemExit("a weight is too large for float16")
    out.mkdir(parents=True, exist_ok=True)
    save_file(half, out / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((source / "config.json").read_text("utf-8"))
    config.update({"dtype": "float16"})
    (out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
    for name in _KEPT:
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)
    size = sum(path.stat().st_size for path in out.iterdir())
    if size > MOST_BYTES:
        raise SystemExit(f"{size / 1e6:.1f} MB is more than {MOST_BYTES / 1e6:.0f}")
    tokenizer = AutoTokenizer.from_pretrained(out)
    texts = [path.read_text("utf-8")[:2000] for path in sorted(GUIDES.glob("*.md"))]
    told = [surprise(AutoModelForCausalLM.from_pretrained(at, dtype=torch.float32).eval(), tokenizer, texts) for at in (source, out)]
    digest = hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
    print(f"{out}: {size / 1e6:.1f} MB; nats a token {told[0]:.5f} in float32, {told[1]:.5f} in float16; sha256 {digest}")
    if not math.isclose(told[0], told[1], rel_tol=1e-3):
        raise SystemExit("float16 changed what it says")


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("out", type=Path, nargs="?", default=HERE)
    asked = parser.parse_args()
    ship(asked.bundle, asked.out)


if __name__ == "__main__":
    main()

"""The only door to transformers and peft: base models, methods, generation, features."""

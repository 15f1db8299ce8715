"""What was predicted and what people said of it: an append-only store with numbered migrations."""

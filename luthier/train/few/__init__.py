"""Few labels: what learns from them is decided by a contest on the train rows alone."""

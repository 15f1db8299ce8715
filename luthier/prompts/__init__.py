"""Text to tokens and back: the one renderer that training, evaluation and serving share."""

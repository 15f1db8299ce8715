"""A model on disk with all it needs, and the one predictor that measures and serves it."""

"""Labelling: which row to ask about next, what people said of it, and when more labels no longer help."""

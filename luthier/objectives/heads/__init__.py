"""Heads that are computed and not trained: from the vectors of the train rows and what the labels' texts say."""

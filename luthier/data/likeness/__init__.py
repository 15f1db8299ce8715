"""Rows that are alike: nearly the same words, a shared passage, the same meaning; and labels that give themselves away."""

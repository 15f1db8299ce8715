"""Figures against peers, as ratios in one run on one machine: ``python -m bench.NAME`` from the repository root."""

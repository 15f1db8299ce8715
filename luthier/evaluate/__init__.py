"""Judge a model: metrics with intervals, comparisons, baselines, the verdict, and the report that shows them."""

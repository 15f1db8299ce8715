"""What the labels themselves are worth: folds, out-of-fold predictions, probable errors, annotators."""

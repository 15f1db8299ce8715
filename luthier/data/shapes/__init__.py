"""What rows mean: columns, conversations, annotators and dates; from rows to examples."""

"""What a training will take before it starts: passes cut as the loop cuts them, some of them run, counted or replayed."""

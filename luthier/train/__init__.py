"""Training: a generator of steps, and the run around it that scores, saves, stops and resumes."""

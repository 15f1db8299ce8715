"""What happens to a model after its release: what its users say, and how that becomes data."""

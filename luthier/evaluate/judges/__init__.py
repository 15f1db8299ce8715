"""Judge models: asked about answers, held against people, counted only where they agree with them."""

"""Named steps that clean texts or leave rows out, and the language of a text."""

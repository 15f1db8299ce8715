"""Whether training fits, and what more data would bring."""

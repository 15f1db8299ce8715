"""The small generator that comes with Luthier: its text, its start, and the two runs that trained it. See README.md."""

"""`python -m luthier.cli` is the `luthier` command."""

from luthier.cli import main

main()

"""How what comes with Luthier was made, in commands that anyone can run again."""

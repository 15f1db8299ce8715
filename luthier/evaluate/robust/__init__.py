"""What a change that should not matter does to the answers: slips of the keyboard, swapped identities, planted orders."""

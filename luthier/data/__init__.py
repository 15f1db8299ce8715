"""From files to checked, divided examples: columns, duplicates, splits, leaks, personal data. No torch here."""

"""The vocabulary every room shares: records, errors, files, seeds, events. No torch here."""

"""The report: one page, in parts."""

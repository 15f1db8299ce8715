"""The task file: every knob declared once, typed, strict, with its unit and its source."""

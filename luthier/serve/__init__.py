"""The service: the same predictor behind HTTP, every answer in the ledger before it leaves."""

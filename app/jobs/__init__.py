"""Dataset jobs: what is asked for, the ledger that remembers it, and those who carry it out. No HTTP."""

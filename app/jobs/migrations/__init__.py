"""How the ledger's database came to look as it does: one revision a step, run when it is opened."""

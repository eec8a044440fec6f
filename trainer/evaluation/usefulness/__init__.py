"""Whether refined images help: estimators trained on every arm, tested on real labels."""

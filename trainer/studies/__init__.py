"""The paper's own studies: what it claims or leaves open, each as variants of one training run."""

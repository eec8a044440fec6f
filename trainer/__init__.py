"""How SimGAN learns: configuration, data, steps, loop, checkpoints, evaluation."""

"""Who refines the chunks of jobs: this process's own engine, or the actors of a Ray cluster."""

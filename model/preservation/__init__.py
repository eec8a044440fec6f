"""What became of annotated structures between two pictures; numpy only, for the service and the trainer."""

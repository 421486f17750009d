"""The federated loop: cohort, local training, round driver, server optimiser, checkpoint, simulator."""

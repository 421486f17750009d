"""Checks that others can run on their own code: a property suite and an adversary for secure aggregation protocols."""

"""Promela model of the round, and the program that runs spin over it: README.md."""

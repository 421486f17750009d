"""Whole jobs, put together from the other rooms: what a run is asked to do, and the doing of it."""

# Before torch, wherever it is first imported below: it reads the number of spins of its threads once.
import securefed.llm  # noqa: F401

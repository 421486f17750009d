"""Whole jobs, put together from the other rooms: what a run is asked to do, and the doing of it."""

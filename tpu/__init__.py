"""Launching on Cloud TPU, and checking beforehand that everything compiles."""

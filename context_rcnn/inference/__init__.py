"""Trained detectors at work: the frozen extractor that fills memory banks."""

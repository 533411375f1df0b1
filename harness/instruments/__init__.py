"""Measurements on a loaded model: edits, sweeps, attribution, and searches for circuits and directions."""

"""Runs: recorded, listed, compared, bundled, and described in words."""

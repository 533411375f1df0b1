"""Writes the report: an HTML page for each run, and the list of all runs."""

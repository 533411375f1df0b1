"""Stored evidence for people: a measurement in words, and tables of all of it."""

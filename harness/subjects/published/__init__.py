"""Subjects without weights: published judgements of real models."""

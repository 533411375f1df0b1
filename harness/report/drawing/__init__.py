"""Draws figures as SVG from what was measured."""

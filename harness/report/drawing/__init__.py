"""Figures: from what was measured to SVG."""

"""Files that may be hostile, torn or huge: read within bounds, written whole."""

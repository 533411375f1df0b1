"""Files that may be hostile, damaged or huge: read within limits, written whole."""

"""Assay and its peers side by side: the same work, the same outputs, process time on one thread."""

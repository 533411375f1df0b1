"""Assay's instruments: from prompt pairs and chat models to verdicts, lower modules first."""

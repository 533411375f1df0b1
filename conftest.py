"""Assay is a pytest plugin: options, the model and the pairs come from here."""

pytest_plugins = ["harness.plugin"]

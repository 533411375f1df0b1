"""Times Assay and other libraries at the same work, on one thread, and checks that their outputs are equal."""

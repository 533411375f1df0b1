"""What is done to a live model: patching, editing, attribution and the searches built on them."""

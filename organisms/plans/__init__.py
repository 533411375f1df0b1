"""One module an organism: its plan, the numbers that prove its own truth, and their bars."""

"""Chat models in memory: finding, loading, examining, running and scoring them."""

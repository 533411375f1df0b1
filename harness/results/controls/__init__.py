"""How claims and their tests are controlled: organisms, placebos and the number of pairs."""

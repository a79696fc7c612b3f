"""Text as words and n-grams, and what is counted in it: no rows, no models."""

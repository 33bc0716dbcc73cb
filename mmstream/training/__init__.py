"""Training on what a site has seen, or on rendered scenes that say what they show. Needs torch."""

"""Training on what a site has seen, or on rendered scenes that say what they show. What learns needs torch; what keeps
and reads the footage does not."""

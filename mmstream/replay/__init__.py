"""What would have been: the last days' alerts under another budget, other weights, another rule."""

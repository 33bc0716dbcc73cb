"""What somebody wants to be told of, in words: what it looks like, or what is said."""

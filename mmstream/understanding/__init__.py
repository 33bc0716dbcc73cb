"""Asking slow models about single moments: which, in what order, with what pictures and sound, and what comes of it."""

"""Whose culture a conversation is about, in which role, on what evidence; pure functions over tables of names."""

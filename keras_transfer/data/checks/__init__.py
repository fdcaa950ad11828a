"""Checks of images: unreadable files, duplicates, leakage between splits."""

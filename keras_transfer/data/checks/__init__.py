"""Looking images over: unreadable files, duplicates, leakage between splits."""

"""What a run looks like: its plots, and ``report.html`` with everything in one file (`write`, `sections`)."""

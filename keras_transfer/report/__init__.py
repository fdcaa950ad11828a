"""``report.html``, the report of a run in a single file (`write`, `sections`)."""

"""Writing data: as shards with an index."""

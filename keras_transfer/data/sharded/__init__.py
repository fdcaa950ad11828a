"""Data in shards, tar files or parts of Parquet files, here or elsewhere: index, cache, images, writing."""

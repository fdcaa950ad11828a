"""Image files and arrays, decoded to uint8 RGB."""

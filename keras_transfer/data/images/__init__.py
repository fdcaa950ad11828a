"""Where pixels come from: image files and arrays, decoded to uint8 RGB."""

"""What is read at run time: descriptions, the registry of cultures, the encoder, the index and its search."""

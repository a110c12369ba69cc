"""What writes an index: knowledge → records → vectors → a published version."""

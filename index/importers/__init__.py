"""The readers of `index/records.py`: files of others as rows, and rows as descriptions."""

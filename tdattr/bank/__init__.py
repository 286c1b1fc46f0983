"""Banks: what ``protocol=bank`` judges by, and how one is made."""

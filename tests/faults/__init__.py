"""Fault injection: commands are ended again and again, and must come to what an undisturbed one comes to."""

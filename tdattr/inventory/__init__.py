"""``tdattr-artifacts``: what is stored, which runs use it, whether it is whole, why two results differ, what may go."""

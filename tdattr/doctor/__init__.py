"""``tdattr-doctor``: is there anything to attribute, and does what is given fit together?"""

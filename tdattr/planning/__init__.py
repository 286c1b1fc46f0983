"""``plan=true``: what a command or a sweep would build, and what that costs, without building anything."""

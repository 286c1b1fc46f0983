"""Training data attribution for diffusion models: which training data made this picture possible?"""

from tdattr.search_path import register_open_node

register_open_node("measures")  # before any config is composed

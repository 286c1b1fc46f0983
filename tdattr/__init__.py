"""Training data attribution for diffusion models: which training data made this picture possible?"""

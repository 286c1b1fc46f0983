"""The stages: verbs over a workspace, lazy: what is asked for is looked up, and only what is missing is computed."""

"""JSON schemas of the YAML files in ``conf``, by which an editor completes them, explains keys and marks faults.

They are made of what decides at run time too: the types of the config nodes (`tdattr.configs`, `tdattr.ranges`). The
comments of the YAML files are the descriptions.
"""

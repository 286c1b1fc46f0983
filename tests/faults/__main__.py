"""``python -m tests.faults``: see `tests.faults.command`.

The ranks of a training on several devices import this file too, as every process that Python spawns does: nothing that
takes time, before which they would not see that the command is gone.
"""

if __name__ == "__main__":
    from tests.faults.command import main

    main()

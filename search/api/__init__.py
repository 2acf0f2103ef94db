"""What foldrace can do, as functions: `import foldrace` offers them, and each command calls one of them.

A module here imports what is heavy (torch, optuna, pandas) inside its functions.
"""

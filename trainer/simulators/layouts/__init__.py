"""Sets of drawn scenes in the files and folders of well-known formats, one module a family."""

"""One module a section; each has `run(setting, report)`."""

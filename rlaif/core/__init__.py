"""Code that every room may use: types, errors, the run file's settings, records on disk, and the operating system."""

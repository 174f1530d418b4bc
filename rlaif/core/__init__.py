"""What every room may use: types, errors, the run file's settings, the records on disk, and the system around them."""

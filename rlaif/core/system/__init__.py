"""Files, processes, devices, signals and the terminal."""

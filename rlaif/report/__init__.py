"""Reports: reads the folders of runs or of a benchmark, and writes one HTML page."""

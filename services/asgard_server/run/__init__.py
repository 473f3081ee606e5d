"""RunService: runs and results, their index and change log, and their drawing."""

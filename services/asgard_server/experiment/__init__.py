"""ExperimentService: experiments, their variations, and the runs that compute those."""

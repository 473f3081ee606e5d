"""SimDataService: SimSwarm's jobs, their files, and the report that is written of them."""

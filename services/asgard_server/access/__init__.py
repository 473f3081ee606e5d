"""Who may do what to an asset or an experiment: the rules, without any technology."""

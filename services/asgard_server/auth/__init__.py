"""Who calls: principals, how they are told from one another, and how services believe them."""

"""AssetService: durable outputs and inputs of simulations, from creation to deletion."""

"""Points and what is chosen among them: cosines, neighbours, clusters, coverage, transport."""

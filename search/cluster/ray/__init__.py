"""Workers on the nodes of a Ray cluster: placed, started again elsewhere, as many as it has room for."""

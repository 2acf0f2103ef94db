"""Workers that a cluster's scheduler keeps alive: submitted, started again, looked at, let go."""

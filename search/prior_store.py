"""Where a study keeps what it knows beforehand: its priors, copied into its database when it is opened."""

CREDIBLE_PRIORS = "priors"  # the user attribute of a trial: the priors that counted when its values were drawn

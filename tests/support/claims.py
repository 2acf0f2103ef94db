"""Claims as tests need them."""

from foldrace.search.trials.claim import Claim
from foldrace.search.trials.claims import Trials


def must_claim(trials: Trials) -> Claim:
    """The trial that is to be had now; a test that expects one fails without it."""
    claim = trials.claim()
    assert claim is not None
    return claim

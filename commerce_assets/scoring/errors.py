"""Why a score cannot be made at all. A score that was made and may not be used is no error: its receipt is refused (receipts.py)."""


class ScoringError(Exception):
    """The input of a score is not what it has to be; the message says which column and what to do."""

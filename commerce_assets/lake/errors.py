"""What can go wrong in the lake; each message says what happened to which load, and what to do next."""


class LakeError(Exception):
    """Base of the lake's errors."""


class LoadError(LakeError):
    """A load was refused; what the lake held before is untouched."""


class ControlTotalError(LoadError):
    """Rows read are not the rows accepted, quarantined and dropped as duplicates; nothing was replaced."""

"""What can go wrong in a push, by name. No message holds a value that was to be written, only ids and names."""


class ActivationError(Exception):
    """Root of this room's errors."""


class DesiredStateError(ActivationError):
    """The desired frame is not what its sync needs; nothing was written."""


class GuardTrippedError(ActivationError):
    """Gates are shut; nothing was written. `gates` names them."""

    def __init__(self, message: str, gates: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.gates = gates


class SyncBusyError(ActivationError):
    """Another process is pushing this sync right now."""


class DestinationError(ActivationError):
    """The destination cannot take what the sync writes, such as a definition of another type."""


class DestinationUnavailableError(ActivationError):
    """The destination stopped answering; what was open stays open in the ledger, and the next run resolves it."""


class SyncPausedError(ActivationError):
    """The sync is paused; nothing was written."""


class PlanDiffersError(ActivationError):
    """What would be written now is not what the plan said; nothing was written."""


class UndoError(ActivationError):
    """A run that cannot be undone: unknown, or its values are no longer kept; nothing was written."""


class UnknownSyncError(ActivationError):
    """There is no sync of that name."""


class DeclarationError(ActivationError):
    """A declared sync is wrong; one line a mistake, with file and line."""


class OwnershipError(DeclarationError):
    """Two syncs write one field."""


class CanaryStoppedError(ActivationError):
    """The part that was written first did not come out as it should; the rest was not written."""


class OverrideError(ActivationError):
    """A permission that cannot be given."""

"""The gate before anything that others see: is every blocking check upstream green, as it last ran?

Dagster holds back what is behind a failed blocking check inside one run only: an asset launched alone runs all the same. So what writes
to the world (the publish, the push) asks here, in its own body.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster import AssetCheckKey, AssetKey, DagsterInstance
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord, AssetCheckExecutionRecordStatus

_STOREFRONT = "storefront"
"""A pull that ended before its checks replaced nothing: the last whole load, which was checked, still stands. Not so a build that ended early."""


@dataclass(frozen=True)
class Obstacle:
    """A blocking check that is not green."""

    check: AssetCheckKey
    reason: str
    run_id: str

    def __str__(self) -> str:
        return f"{self.check.asset_key.to_user_string()}:{self.check.name} {self.reason} (run {self.run_id[:8]})"


@dataclass(frozen=True)
class Gate:
    """The blocking checks of everything upstream of one asset."""

    checks: tuple[AssetCheckKey, ...]

    def obstacles(self, instance: DagsterInstance) -> list[Obstacle]:
        """The checks that last failed, or did not finish. One that never ran says nothing yet."""
        if not self.checks:
            return []
        records = instance.event_log_storage.get_latest_asset_check_execution_by_key(self.checks)
        found = (_obstacle(instance, record) for record in records.values())
        return sorted((obstacle for obstacle in found if obstacle), key=str)

    def refuse_when_shut(self, instance: DagsterInstance, what: str) -> None:
        """Fail, without a retry, naming the checks that are in the way."""
        if obstacles := self.obstacles(instance):
            named = "; ".join(str(obstacle) for obstacle in obstacles[:5]) + ("; …" if len(obstacles) > 5 else "")
            raise dg.Failure(
                f"{what} refused: {len(obstacles)} blocking check(s) upstream are not green: {named}. Mend what they show, run it again, then this.",
                metadata={"obstacles": dg.MetadataValue.json([str(obstacle) for obstacle in obstacles])},
                allow_retries=False,
            )


def gate_before(upstream: Sequence[AssetKey], definitions: Sequence[dg.AssetsDefinition], *, ignored_layers: Collection[str] = ()) -> Gate:
    """The gate of an asset that depends on `upstream`: the blocking checks on those and on all their ancestors in `definitions`.

    Checks on assets of `ignored_layers` (first parts of keys) hold nothing back: of a score that was refused, the rows accepted last stay,
    and those may be shown, though not pushed.
    """
    parents: dict[AssetKey, set[AssetKey]] = {}
    for definition in definitions:
        for spec in definition.specs:
            parents[spec.key] = {dep.asset_key for dep in spec.deps}
    ancestors: set[AssetKey] = set()
    waiting = list(upstream)
    while waiting:
        ancestor = waiting.pop()
        if ancestor not in ancestors:
            ancestors.add(ancestor)
            waiting.extend(parents.get(ancestor, ()))
    return Gate(
        tuple(
            sorted(
                spec.key for spec in _blocking(definitions) if spec.asset_key in ancestors and spec.asset_key.path[0] not in ignored_layers
            )
        )
    )


def _blocking(definitions: Iterable[dg.AssetsDefinition]) -> list[dg.AssetCheckSpec]:
    return [spec for definition in definitions for spec in definition.check_specs if spec.blocking]


def _obstacle(instance: DagsterInstance, record: AssetCheckExecutionRecord) -> Obstacle | None:
    if record.status == AssetCheckExecutionRecordStatus.FAILED:
        evaluation = record.evaluation
        if evaluation is not None and evaluation.severity != dg.AssetCheckSeverity.ERROR:
            return None
        return Obstacle(record.key, "last failed", record.run_id)
    if record.status == AssetCheckExecutionRecordStatus.PLANNED and record.key.asset_key.path[0] != _STOREFRONT:
        run = instance.get_run_by_id(record.run_id)
        if run is not None and run.is_failure_or_canceled:
            return Obstacle(record.key, "was planned by a run that ended before it", record.run_id)
    return None

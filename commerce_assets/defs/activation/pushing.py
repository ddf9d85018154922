"""What every push is: a declared sync as an asset, behind its gates, with what a person wants to see of it."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from commerce_assets.activation.declarations import DeclaredSync
from commerce_assets.config import load_settings
from commerce_assets.defs import automation
from commerce_assets.defs.gates import Gate
from commerce_assets.defs.names import tags
from commerce_assets.defs.resources import Storefront, Warehouse

if TYPE_CHECKING:
    from commerce_assets.activation.engine import PushReport

GATES, ROWS = "gates_open", "rows_written"
"""The checks of each push."""
_PERSONAL = ("email_sha256", "phone_sha256")


class PushConfig(dg.Config):
    """How to push."""

    dry_run: bool = False
    """Plan only: say what would be written, write nothing, materialise nothing."""
    plan_id: str | None = None
    """Write only if it is what this plan of `commerce sync plan` said."""


def push_key(declared: DeclaredSync) -> dg.AssetKey:
    """`activation/<destination>/<sync>`."""
    return dg.AssetKey(["activation", declared.destination, declared.name])


def model_key(declared: DeclaredSync) -> dg.AssetKey:
    """The dbt model whose rows the destination is to hold."""
    return dg.AssetKey(["warehouse", "sync", declared.model])


def push_asset(declared: DeclaredSync, gate_before: Callable[[Sequence[dg.AssetKey]], Gate]) -> dg.AssetsDefinition:
    """The push of a declared sync; `gate_before` gives the gate of what is upstream, when it is asked for."""
    key, model = push_key(declared), model_key(declared)

    @dg.asset(
        key=key,
        deps=[model],
        description=declared.description,
        group_name="activation",
        owners=[declared.owner],
        tags=tags(declared.tier, declared.domain, any(one.type in _PERSONAL for one in declared.fields)),
        kinds={declared.destination},
        metadata={"mode": declared.mode, "dagster/column_schema": _columns(declared)},
        check_specs=[
            dg.AssetCheckSpec(GATES, asset=key, description="Every gate before the write was open, or passed by a permission on record."),
            dg.AssetCheckSpec(ROWS, asset=key, description="No record failed, and none is of unknown outcome."),
        ],
        retry_policy=dg.RetryPolicy(max_retries=1, delay=30, jitter=dg.Jitter.PLUS_MINUS),
        output_required=False,
        automation_condition=_automation(declared.automation),
    )
    def pushed(context: dg.AssetExecutionContext, config: PushConfig, storefront: Storefront, warehouse: Warehouse) -> Iterator[Any]:
        from commerce_assets.activation.errors import CanaryStoppedError, GuardTrippedError, PlanDiffersError, SyncPausedError
        from commerce_assets.activation.guards import Tripped
        from commerce_assets.service.alerts import alert

        upstream = [Tripped("upstream_checks", str(obstacle)) for obstacle in gate_before([model]).obstacles(context.instance)]
        try:
            report = push_declared(
                declared,
                storefront,
                warehouse,
                dry_run=config.dry_run,
                requested_by=context.run_id,
                say=context.log.info,
                plan_id=config.plan_id,
                standing=upstream,
            )
        except (GuardTrippedError, CanaryStoppedError) as error:
            gates = list(error.gates) if isinstance(error, GuardTrippedError) else ["canary"]
            alert(load_settings(), f"push of {declared.title} stopped ({', '.join(gates)}): {error}")
            yield dg.AssetCheckResult(
                passed=False,
                check_name=GATES,
                severity=dg.AssetCheckSeverity.ERROR,
                description=str(error),
                metadata={"gates": ", ".join(gates)},
            )
            # Only a person can change it: no retry.
            raise dg.Failure(
                f"push of {declared.title} refused: {error}", metadata={"gates": dg.MetadataValue.json(gates)}, allow_retries=False
            ) from error
        except (SyncPausedError, PlanDiffersError) as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        if config.dry_run:
            context.log.info(f"dry run, nothing written: {report.planned:,} of {report.desired:,} {declared.target.plural} would be")
            return
        yield dg.MaterializeResult(metadata=report_metadata(report), check_results=_checks(report))

    return pushed


def push_declared(
    declared: DeclaredSync,
    storefront: Storefront,
    warehouse: Warehouse,
    *,
    dry_run: bool,
    requested_by: str,
    say: Callable[[str], None],
    plan_id: str | None = None,
    standing: Sequence[Any] = (),
) -> "PushReport":
    """Read what the destination should hold, and make it so (or only plan it)."""
    from commerce_assets.service.syncs import push_sync, wanted

    settings = load_settings()
    with wanted(declared, warehouse.reading, settings) as what:
        return push_sync(
            declared,
            what,
            settings,
            storefront.client,
            say=say,
            requested_by=requested_by,
            dry_run=dry_run,
            plan_id=plan_id,
            standing=standing,
        )


def report_metadata(report: "PushReport") -> dict[str, Any]:
    """Counts of a push; ids of a few records, never a value."""
    counts = ("desired", "creates", "updates", "removals", "unchanged", "succeeded", "failed", "gone", "unknown", "resolved", "requests")
    measured = {
        "canary": report.canary,
        "canary_failed": report.canary_failed,
        "canary_differing": report.canary_differing,
        "points": report.points,
        "throttled": report.throttled,
    }
    return {
        **{name: getattr(report, name) for name in counts},
        **{name: count for name, count in measured.items() if count},
        **({"overridden_gates": ", ".join(report.overridden)} if report.overridden else {}),
        "status": report.status,
        "ledger_run_id": report.run_id or "",
        "seconds": round(report.seconds, 3),
        "skipped": dg.MetadataValue.json(report.skipped),
        "failure_reasons": dg.MetadataValue.json(report.failure_reasons),
    }


def _checks(report: "PushReport") -> list[dg.AssetCheckResult]:
    passed = report.failed == 0 and report.unknown == 0
    overridden = f"; passed by permission: {', '.join(report.overridden)}" if report.overridden else ""
    return [
        dg.AssetCheckResult(passed=True, check_name=GATES, description=f"all gates were open or passed on record{overridden}"),
        dg.AssetCheckResult(
            passed=passed,
            check_name=ROWS,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{report.failed:,} of {report.planned:,} records failed; they come back in the next run",
            metadata={"failure_reasons": dg.MetadataValue.json(report.failure_reasons)},
        ),
    ]


def _columns(declared: DeclaredSync) -> dg.TableSchema:
    """The key and each field: its type, and what a null does."""
    key = dg.TableColumn(declared.key.column, "key", "Tells one record from another.")
    return dg.TableSchema(
        [
            key,
            *(
                dg.TableColumn(
                    one.name,
                    one.type,
                    " ".join(
                        part
                        for part in (
                            one.metafield.description if one.metafield else "",
                            f"From {one.source}." if one.source != one.name else "",
                            "Written along with others, never alone." if one.carried else "",
                            "A null leaves what is held." if one.null == "skip" else "",
                        )
                        if part
                    )
                    or None,
                )
                for one in declared.fields
            ),
        ]
    )


def _automation(said: str) -> dg.AutomationCondition | None:
    if said == "manual":
        return None
    return automation.when_upstream_changed() if said == "when_upstream_changed" else automation.by_the_clock_when_green(said)

select
    cast(finished_at at time zone 'UTC' as date) as reconciled_on,
    object_type,
    count(*) as reconciliation_count,
    cast(sum(seen_count) as bigint) as changed_object_count,
    cast(sum(missed_count) as bigint) as missed_webhook_count,
    cast(sum(missed_count) as double) / nullif(sum(seen_count), 0) as missed_rate
from {{ source("observability", "reconciliations") }}
group by 1, 2

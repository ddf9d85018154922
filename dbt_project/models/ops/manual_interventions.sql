select
    row_number() over (order by taken_at, kind, topic, object_type, object_id) as intervention_number,
    kind,
    taken_by,
    topic,
    object_type,
    object_id,
    was_reason,
    cast(row_count as bigint) as row_count,
    taken_at at time zone 'UTC' as taken_at
from {{ source("observability", "interventions") }}

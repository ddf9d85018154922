select
    report ->> 'load_id' as load_id,
    report ->> 'family' as family,
    counts.key as table_name,
    cast(report ->> 'loaded_at' as timestamptz) as loaded_at,
    cast(counts.value ->> 'read' as bigint) as read_count,
    cast(counts.value ->> 'accepted' as bigint) as accepted_count,
    cast(counts.value ->> 'quarantined' as bigint) as quarantined_count,
    cast(counts.value ->> 'duplicates' as bigint) as duplicate_count
from reports, json_each(reports.report, '$.tables') as counts
order by load_id, table_name

select
    report ->> 'load_id' as load_id,
    report ->> 'family' as family,
    counts.key as table_name,
    cast(report ->> 'loaded_at' as timestamptz) as loaded_at,
    rules.key as rule_name,
    cast(rules.value as bigint) as quarantined_count
from reports, json_each(reports.report, '$.tables') as counts, json_each(counts.value, '$.rejected_by_rule') as rules
order by load_id, table_name, rule_name

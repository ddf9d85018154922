-- Refused rows with the load they came with and the partition they would have stood in.
create or replace table settled.quarantine as
with
    refused_roots as (
        select root_id, max(try_cast(json_extract_string("row", '$.{version}') as timestamptz)) as _version_at
        from quarantined
        where table_name = '{root}' and root_id is not null and json_valid("row")
        group by all
    ),
    versions as (
        select root_id, max(_version_at) as _version_at
        from (select root_id, _version_at from refused_roots union all select root_id, _version_at from settled.roots)
        group by all
    )
select
    files.load_id,
    {source} as source,
    {family} as family,
    quarantined.table_name as "table",
    quarantined.failed_rules,
    quarantined."row",
    quarantined.row_key,
    quarantined.root_id,
    files._source_file,
    quarantined._line,
    {loaded_at} as _loaded_at,
    {partition_key} as partition_key,
    {scope} as scope
from quarantined
inner join files using (_file)
left join versions on versions.root_id = quarantined.root_id

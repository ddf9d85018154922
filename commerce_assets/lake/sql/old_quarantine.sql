create or replace table settled.old_quarantine as
select old.* exclude (is_superseded), coalesce(is_superseded, false) as is_superseded
from (
    select *, {is_superseded} as is_superseded
    from read_parquet({files}, hive_partitioning = false)
) as old

-- Of each document the last count of every day, and the version that holds.
create table kept as
select {key}, _version_at, _loaded_at
from read_parquet({files}, hive_partitioning = false, union_by_name = true)
qualify
    row_number() over (partition by {key}, cast(_loaded_at as date) order by _loaded_at desc) = 1
    or row_number() over (partition by {key} order by _version_at desc, _loaded_at desc) = 1

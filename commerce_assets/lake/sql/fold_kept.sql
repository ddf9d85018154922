-- Of each document the version that holds among the micro-batches, and the load it came with.
create table kept as
select {key}, _version_at, _loaded_at
from read_parquet({files}, hive_partitioning = false, union_by_name = true)
qualify row_number() over (partition by {key} order by _version_at desc, _loaded_at desc) = 1

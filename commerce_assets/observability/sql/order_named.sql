select order_id
from read_parquet($files, hive_partitioning = true, hive_types_autocast = false, union_by_name = true)
where order_name in ($name, '#' || $name)
order by _version_at desc
limit 1

select order_id, order_name, customer_id, partition, _source_file, _line, _loaded_at, _version_at
from read_parquet($files, hive_partitioning = true, hive_types_autocast = false, union_by_name = true)
where order_id = $order_id
order by _version_at desc, _loaded_at desc
limit 1

select "table" as table_name, failed_rules, load_id, _source_file, _line, _loaded_at
from read_parquet($files, hive_partitioning = false, union_by_name = true)
where root_id = $order_id
order by _loaded_at desc, "table" = 'orders' desc, "table", _line

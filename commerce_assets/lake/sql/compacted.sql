copy (select * from read_parquet({files}, hive_partitioning = false, union_by_name = true))
to {place} (format parquet, compression snappy)

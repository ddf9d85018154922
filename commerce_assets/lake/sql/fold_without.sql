copy (select * from read_parquet({file}, hive_partitioning = false) where not {of_batch})
to {place} (format parquet, compression snappy)

copy (
    select row.*
    from read_parquet({files}, hive_partitioning = false, union_by_name = true) as row
    semi join kept on {same} and kept._version_at = row._version_at and kept._loaded_at = row._loaded_at
) to {place} (format parquet, compression snappy)

-- Documents that a pull brought later, in no older version.
delete from kept
where
    exists (
        select 1
        from
            read_parquet({files}, hive_partitioning = true, hive_types_autocast = false, union_by_name = true) as pulled
        where
            {same}
            and {day}
            and (
                pulled._version_at > kept._version_at
                or (pulled._version_at = kept._version_at and pulled._loaded_at > kept._loaded_at)
            )
    )

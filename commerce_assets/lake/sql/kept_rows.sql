-- Rows of a partition that is only partly replaced: those of documents that this load neither brings nor replaces.
select {columns}, _source_file, _line, _loaded_at, _version_at, {partition} as partition
from read_parquet({files}, hive_partitioning = false) as row
where
    not ({is_replaced})
    and not exists (
        select 1 from settled.roots as roots where roots.root_id = row."{root_id}" and roots.partition = {partition}
    )

-- Documents of which the partition already holds a newer version.
select roots.root_id
from settled.roots as roots
inner join read_parquet({files}, hive_partitioning = false) as present on present."{root_id}" = roots.root_id
where roots.partition = {partition} and present._version_at > roots._version_at and not ({is_replaced})

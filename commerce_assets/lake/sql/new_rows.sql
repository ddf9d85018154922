select {columns}, files._source_file, row._line, {loaded_at} as _loaded_at, roots._version_at, roots.partition
from staged."{table}" as row
inner join settled.roots as roots on roots.root_id = row."{root_id}"
inner join files using (_file){join_root}

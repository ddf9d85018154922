select _file, _line, _ordinal from staged."{table}" where "{root_id}" in (select root_id from stale)

select owned.id as owner_gid, root_id
from (select unnest({owned}) as owned, gid(id, '{root}') as root_id from "{shape}" where len({owned}) > 0)
where owned.id is not null

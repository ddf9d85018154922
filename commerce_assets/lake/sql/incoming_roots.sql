create or replace table settled.roots as
select {root_id} as root_id, max({version}) as _version_at, any_value({partition}) as partition
from staged."{table}"
group by all

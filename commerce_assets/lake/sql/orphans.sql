-- Rows whose parent is not among the accepted: because it was refused, or because it never came.
select
    rows.*,
    case
        when
            {value} in (select {refused_id} from quarantined where table_name = '{parent}' and {refused_id} is not null)
        then 'parent_rejected'
        else 'parent_missing'
    end as rule
from staged."{table}" as rows
where {condition} and not exists (select 1 from staged."{parent}" as parent where parent."{parent_column}" = {value})

-- Every refund in the downloaded order files, oldest first: their line items cannot come with a bulk operation.
with documents as (
    select refunds
    from
        read_json(
            $files,
            format = 'newline_delimited',
            ignore_errors = true,
            columns = {'refunds': 'STRUCT(id VARCHAR)[]'}
        )
    where len(refunds) > 0
),

refunds as (select unnest(refunds).id as id from documents)

select distinct id
from refunds
where id is not null
order by len(id), id

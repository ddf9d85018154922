-- Every refund in a few downloaded order files.
select distinct id
from
    (
        select unnest(refunds).id as id
        from
            read_json(
                $files, format = 'newline_delimited', ignore_errors = true, columns = {'refunds':'STRUCT(id VARCHAR)[]'}
            )
        where len(refunds) > 0
    )
where id is not null

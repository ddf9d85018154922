-- One page of the ledger's current state as a single text value: SQLite joins the rows in C, polars parses them in C.
select group_concat(record_key || char(31) || fingerprint, char(10)) as page, max(record_key) as last_key
from
    (
        select record_key, fingerprint
        from activation_state
        where destination = $destination and sync = $sync and record_key > $after
        order by record_key
        limit $page_rows
    )

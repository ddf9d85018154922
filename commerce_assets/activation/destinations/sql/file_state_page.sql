-- One page of the records as a single text of JSON lines, in the order of their keys: SQLite joins the rows in C,
-- polars parses them in C.
select group_concat(line, char(10)) as page, max(record_key) as last_key
from (select record_key, line from records where record_key > $after order by record_key limit $page_rows)

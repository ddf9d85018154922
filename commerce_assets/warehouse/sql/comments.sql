select schema_name, table_name, null as column_name, comment
from duckdb_tables()
where database_name = 'build' and comment is not null
union all
select schema_name, table_name, column_name, comment
from duckdb_columns()
where database_name = 'build' and comment is not null

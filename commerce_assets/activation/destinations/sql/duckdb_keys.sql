select constraint_column_names
from duckdb_constraints()
where
    database_name = current_database()
    and schema_name = $schema
    and table_name = $table
    and constraint_type in ('PRIMARY KEY', 'UNIQUE')
union all
-- An index with an expression names none of the columns plainly, and so matches no key.
select string_split(replace(trim(expressions, '[]'), '"', ''), ', ')
from duckdb_indexes()
where database_name = current_database() and schema_name = $schema and table_name = $table and is_unique

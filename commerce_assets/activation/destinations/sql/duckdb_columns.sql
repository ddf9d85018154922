select column_name, data_type, numeric_precision, numeric_scale
from duckdb_columns()
where database_name = current_database() and schema_name = $schema and table_name = $table

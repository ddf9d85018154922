select
    tables.schema_name,
    tables.table_name,
    list(columns.column_name order by columns.column_index) as column_names,
    list(columns.data_type order by columns.column_index) as column_types
from
    (
        select schema_name, table_name
        from duckdb_tables()
        where database_name = 'build'
        union all
        select schema_name, view_name as table_name
        from duckdb_views()
        where database_name = 'build' and not internal
    ) as tables
inner join
    duckdb_columns() as columns
    on columns.database_name = 'build'
    and columns.schema_name = tables.schema_name
    and columns.table_name = tables.table_name
where list_contains($1, tables.schema_name) and not ends_with(tables.table_name, '__dbt_tmp')
group by all
order by all

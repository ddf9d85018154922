select
    has_database_privilege(current_database(), 'TEMP') as may_stage,
    has_any_column_privilege(to_regclass(:named), 'SELECT') as may_select,
    has_any_column_privilege(to_regclass(:named), 'INSERT') as may_insert,
    has_any_column_privilege(to_regclass(:named), 'UPDATE') as may_update,
    has_table_privilege(to_regclass(:named), 'DELETE') as may_delete,
    case
        when to_regnamespace(coalesce(:within, quote_ident(current_schema()))) is null
        then has_database_privilege(current_database(), 'CREATE')
        else has_schema_privilege(to_regnamespace(coalesce(:within, quote_ident(current_schema()))), 'CREATE')
    end as may_make

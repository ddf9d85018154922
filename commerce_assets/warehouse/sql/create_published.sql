create table target.main.published (
    version varchar not null,
    published_at timestamptz not null,
    run_id varchar not null,
    table_name varchar not null,
    row_count bigint not null,
    masked_columns varchar[] not null
)

create schema staged;
create schema settled;
create table files (_file smallint, _source_file varchar, load_id varchar);
create table dropped (table_name varchar, _file smallint, _line bigint, _ordinal bigint);
create table quarantined (
    table_name varchar,
    failed_rules varchar[],
    "row" varchar,
    row_key varchar,
    row_id bigint,
    root_id bigint,
    _file smallint,
    _line bigint,
    _ordinal bigint
);

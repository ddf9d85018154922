create or replace view staged."{table}" as select * from {source} as rows

create schema value;
create schema reason;
create table owners (owner_gid varchar, root_id bigint);

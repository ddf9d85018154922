-- What a file holds, record by record: `line` is a JSON object of the key (_key) and the fields that are not null.
create table if not exists records (record_key text primary key, line text not null) without rowid;
create table if not exists about (name text primary key, value text not null) without rowid;
insert or ignore into about (name, value) values ('identity', lower(hex(randomblob(16))));

-- A record as it is now, whatever it was before.
insert into records (record_key, line)
values ($key, $line) on conflict (record_key) do update set line = excluded.line

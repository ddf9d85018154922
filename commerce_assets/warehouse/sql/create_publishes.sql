create table target.main.publishes (version varchar not null, published_at timestamptz not null, run_id varchar not null)

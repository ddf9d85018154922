select version, published_at, run_id from main.publishes order by version desc limit 1000

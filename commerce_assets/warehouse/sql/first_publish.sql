select version, published_at, run_id from main.published limit 1

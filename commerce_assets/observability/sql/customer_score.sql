select scored_at, as_of_on from read_parquet($files) where customer_id = $customer_id

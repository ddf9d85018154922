update target.ops.order_trace
set published_version = ?, published_at = ?
where in_marts_at is not null and published_at is null

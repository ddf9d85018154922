select
    cast(emitted_at as date) as emitted_on,
    count(*) as order_count,
    count(published_at) as published_count,
    {{ seconds_spread("receive", "receive_seconds") }},
    {{ seconds_spread("land", "land_seconds") }},
    {{ seconds_spread("mart", "mart_seconds") }},
    {{ seconds_spread("publish", "publish_seconds") }},
    {{ seconds_spread("propagation", "propagation_seconds") }}
from {{ ref("order_trace") }}
where way = 'events' and emitted_at is not null
group by 1

with
    scores as (select * from {{ source("scores", "customer_rfm") }}),

    customers as (select * from {{ ref("dim_customer") }} where not is_deleted)

select
    customers.customer_gid,
    customers.customer_id,
    scores.rfm_segment,
    scores.lifecycle,
    scores.is_vip,
    {{ money("scores.monetary_amount") }} as monetary_value_amount,
    scores.currency_code,
    scores.as_of_on,
    {{ lifecycle_tags("scores") }} as lifecycle_tags,
    scores.scored_at at time zone 'UTC' as scored_at
from scores
inner join customers on customers.customer_id = scores.customer_id

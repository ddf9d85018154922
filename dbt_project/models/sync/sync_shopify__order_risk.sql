with
    risks as (select * from {{ source("scores", "order_risk") }}),

    orders as (select order_id, order_gid from {{ ref("stg_storefront__orders") }})

select
    orders.order_gid,
    orders.order_id,
    risks.risk_level,
    cast(round(risks.risk_score, 1) as decimal(5, 1)) as risk_score,
    case when risks.is_review then ['risk:review'] else [] end as risk_tags,
    risks.receipt_id as risk_receipt_id,
    risks.as_of_on,
    risks.scored_at at time zone 'UTC' as scored_at
from risks
inner join orders on orders.order_id = risks.order_id

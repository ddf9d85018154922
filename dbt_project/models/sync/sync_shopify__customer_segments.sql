-- Made from segments.yml by `commerce segment build`: change that file, not this one.
-- fmt: off
-- Customers in at least one segment that is sent to Shopify, with the tags that put them there.
with members as (select * from {{ ref("segment__vip") }}
        union all
        select * from {{ ref("segment__lapsed_90_days_high_value") }}
        union all
        select * from {{ ref("segment__at_risk_vip") }}
        union all
        select * from {{ ref("segment__second_order_nudge") }}
        union all
        select * from {{ ref("segment__next_order_within_7_days") }}
        union all
        select * from {{ ref("segment__high_return_rate") }}
        union all
        select * from {{ ref("segment__bargain_hunters") }}
        union all
        select * from {{ ref("segment__new_this_month") }}
        union all
        select * from {{ ref("segment__win_back_eligible") }})

select
    customer_gid,
    customer_id,
    list_sort(list('segment:' || segment_name)) as segment_tags,
    max(as_of_on) as as_of_on
from members
group by customer_gid, customer_id

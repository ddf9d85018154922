-- Customers in at least one segment that is sent to Shopify, with the tags that put them there.
with members as ({{ selects }})

select
    customer_gid,
    customer_id,
    list_sort(list('{{ prefix }}' || segment_name)) as segment_tags,
    max(as_of_on) as as_of_on
from members
group by customer_gid, customer_id

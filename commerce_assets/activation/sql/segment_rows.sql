-- Customers with all that is known of them and the day they are judged by; `c` and `s` are what conditions name.
with
    c as (select * from {{ relation("customer_360") }} where not is_deleted),

    s as (select * from {{ relation("customer_scores") }} where not is_deleted),

    customers as (select customer_id, customer_gid from {{ relation("dim_customer") }} where not is_deleted),

    as_of as (select coalesce(max(s.as_of_on), (select max(c.last_ordered_on) from c)) as as_of_on from s)

select {{ columns }}
from c
inner join customers on customers.customer_id = c.customer_id
inner join as_of on as_of.as_of_on is not null
left join s on s.customer_id = c.customer_id {{ where }}

-- Members who agreed to {{ channel }} marketing, with what reaches them; consent is asked for again when they are sent.
with
    members as (select * from {{ relation(model) }}),

    customers as (select * from {{ relation("dim_customer") }} where not is_deleted)

select
    members.customer_gid,
    members.customer_id,
    members.segment_name,
    customers.email,
    customers.phone,
    customers.first_name,
    customers.last_name,
    customers.postal_code,
    customers.country_code,
    members.as_of_on
from members
inner join customers on customers.customer_id = members.customer_id
where customers.is_{{ channel }}_subscribed and (customers.email is not null or customers.phone is not null)

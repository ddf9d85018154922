-- The fulfillments whose lines cannot be derived from their order's: all but the only live one of an order that holds every piece of it.
with documents as (
    select id, __parentid as parent_id, quantity, fulfillments
    from
        read_json(
            $files,
            format = 'newline_delimited',
            ignore_errors = true,
            columns = {
                'id': 'VARCHAR',
                '__parentId': 'VARCHAR',
                'quantity': 'BIGINT',
                'fulfillments': 'STRUCT(id VARCHAR, status VARCHAR, totalQuantity BIGINT)[]'
            }
        )
    where len(fulfillments) > 0 or id like 'gid://shopify/LineItem/%'
),

pieces as (
    select parent_id as order_id, sum(quantity) as quantity
    from documents
    where parent_id is not null
    group by parent_id
),

fulfillments as (
    select id as order_id, unnest(fulfillments) as fulfillment
    from documents
    where parent_id is null and len(fulfillments) > 0
),

judged as (
    select
        fulfillment.id as id,
        fulfillment.status <> 'CANCELLED'
        and fulfillment.totalquantity = pieces.quantity
        and count(*) filter (where fulfillment.status is distinct from 'CANCELLED') over (partition by fulfillments.order_id)
        = 1 as is_derivable
    from fulfillments
    left join pieces on fulfillments.order_id = pieces.order_id
)

select distinct id
from judged
where id is not null and not coalesce(is_derivable, false)
order by len(id), id
